"""The ISIC-2017 challenge data from their official address, unpacked into the layout that `prepare` reads."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mbdcnn.artifacts import draft_path
from mbdcnn.data.download.http import check_space, content_length, fetch, length, md5_of
from mbdcnn.data.readers.isic2017 import SPLIT_NAMES
from mbdcnn.errors import UserError
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder
from mbdcnn.system.progress import Progress, silent

BASE_URL = "https://isic-challenge-data.s3.amazonaws.com/2017/"
CHECKSUMS = {
    "ISIC-2017_Training_Part3_GroundTruth.csv": "0cb4add57c65c22ca1a1cb469ad1f0c5",
    "ISIC-2017_Training_Part1_GroundTruth.zip": "77fdbeb6fbec4139937224416b250f4c",
    "ISIC-2017_Training_Data.zip": "a14a7e622c67a358797ae59abb8a0b0c",
    "ISIC-2017_Validation_Part3_GroundTruth.csv": "8d4826a76adcd8fb928ca52a23ebae4c",
    "ISIC-2017_Validation_Part1_GroundTruth.zip": "64d3e68fa2deeb8a5e89aa8dec2efd44",
    "ISIC-2017_Validation_Data.zip": "8d6419d942112f709894c0d82f6c9038",
    "ISIC-2017_Test_v2_Part3_GroundTruth.csv": "9e957b72a0c4f9e0d924889fd03b36ed",
    "ISIC-2017_Test_v2_Part1_GroundTruth.zip": "b1742de6bd257faca3b2b21a4aa3b781",
    "ISIC-2017_Test_v2_Data.zip": "5f6a0b5e1f2972bd1f5ea02680489f09",
}
"""MD5 of each file. Images come last in a split: a folder that `prepare` takes for a split has all that belongs to
it."""


def download_isic2017(
    folder: Path,
    splits: Sequence[str] = tuple(SPLIT_NAMES),
    *,
    base_url: str = BASE_URL,
    progress: Progress = silent,
) -> list[Path]:
    """Get and unpack the files of some splits, leaving out what is there and going on with what was interrupted.

    Args:
        folder: where they go.
        splits: any of `train`, `validation`, `test`.
        base_url: address of the files, or of a mirror.
        progress: told the bytes done, over all files.

    Returns:
        The zip files, which have served their purpose once this is done.

    Raises:
        UserError: a file cannot be had or is another than the official one, or the disk is full.
    """
    make_folder(folder)
    names = [name for split in splits for name in CHECKSUMS if name.startswith(SPLIT_NAMES[split])]
    missing = [name for name in names if not _is_done(folder / name)]
    wanted = [name for name in missing if not (folder / name).exists()]
    address = base_url.rstrip("/")
    sizes = {name: content_length(f"{address}/{name}") for name in wanted}
    _check_room(folder, sizes)
    count = _Count(progress, sum(size or 0 for size in sizes.values()))
    for name in missing:
        if name in wanted:
            count.begin(name)
            fetch(f"{address}/{name}", folder / name, md5=CHECKSUMS[name], size=sizes[name], progress=count)
        if name.endswith(".zip"):
            count.begin(f"unpacking {name}")
            _unpack(folder / name, count.unpacking)
    return [folder / name for name in names if name.endswith(".zip") and (folder / name).is_file()]


class _Count:
    """Adds up the bytes of file after file."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total = progress, total
        self.before = self.here = 0
        self.note = ""

    def begin(self, note: str) -> None:
        self.before, self.here, self.note = self.before + self.here, 0, note
        self.progress(self.before, max(self.total, self.before), note)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.here = done
        self.progress(self.before + done, max(self.total, self.before + total), self.note)

    def unpacking(self, done: int, total: int, note: str = "") -> None:
        self.progress(self.before, max(self.total, self.before), f"{self.note}: {done} of {total}")


def _is_done(file: Path) -> bool:
    """Say whether a file's content is in place; a file that is there must be the official one."""
    if file.suffix == ".zip" and _unpacked(file).is_dir():
        return True
    if not file.exists():
        return False
    if (found := md5_of(file)) != CHECKSUMS[file.name]:
        raise UserError(
            f"{file}: its MD5 is {found} and should be {CHECKSUMS[file.name]}; remove it, and it is fetched anew"
        )
    return file.suffix != ".zip"


def _unpacked(file: Path) -> Path:
    return file.with_suffix("")


def _unpack(archive: Path, progress: Progress) -> None:
    """Unpack a zip file of known MD5 into a folder of its name, which appears once everything is in it."""
    folder = _unpacked(archive)
    draft = draft_path(folder)
    with zipfile.ZipFile(archive) as content, disk_errors_as_user_errors(folder, kept=True):
        entries = [each for each in content.infolist() if not (each.is_dir() or each.filename.startswith("__MACOSX/"))]
        check_space(folder.parent, sum(entry.file_size for entry in entries))
        shutil.rmtree(draft, ignore_errors=True)
        for done, entry in enumerate(entries, 1):
            entry.filename = entry.filename.removeprefix(f"{folder.name}/")
            content.extract(entry, draft)
            progress(done, len(entries))
    draft.rename(folder)


def _check_room(folder: Path, sizes: dict[str, int | None]) -> None:
    """Images hardly shrink in a zip file, so what is unpacked takes its size once more."""
    known = {name: size for name, size in sizes.items() if size is not None}
    needed = sum(size * (2 if name.endswith(".zip") else 1) for name, size in known.items())
    check_space(folder, needed - sum(length(folder / f"{name}.part") for name in known))
