"""Zip files unpacked without trusting them."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from mbdcnn.artifacts import draft_path
from mbdcnn.data.download.http import check_space, length
from mbdcnn.errors import UserError
from mbdcnn.system.files import faults_told, make_folder
from mbdcnn.system.progress import Progress, silent

EXPANSION_LIMIT = 100
"""How many times larger than the zip file its content may be; pictures hardly shrink, bombs do a thousandfold."""
SIZE_LIMIT = 200_000_000_000
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def unpack(archive: Path, folder: Path, progress: Progress = silent) -> None:
    """Unpack a zip file into `folder`, which appears once everything is in it; an interrupted unpacking goes on.

    A single folder in the zip file that has the name of `folder` becomes it.

    Args:
        archive: the zip file.
        folder: where its files go.
        progress: told the files done.

    Raises:
        UserError: the file is damaged, too large unpacked, or holds links or names that lead out of the folder.
    """
    draft = draft_path(folder)
    try:
        with zipfile.ZipFile(archive) as content:
            entries = _checked(content, archive, folder.name)
            left = {path: entry for path, entry in entries.items() if length(draft / path) != entry.file_size}
            check_space(folder.parent, sum(entry.file_size for entry in left.values()))
            make_folder(draft)
            for done, (path, entry) in enumerate(entries.items(), 1):
                if path in left or not (draft / path).exists():
                    _extract(content, entry, draft / path)
                progress(done, len(entries))
    except DAMAGE as error:
        raise UserError(f"{archive}: a damaged zip file ({error}); delete it and get it again") from None
    draft.rename(folder)


def _checked(content: zipfile.ZipFile, archive: Path, name: str) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Give the files by their path in the folder, once none of them can do harm."""
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in content.infolist():
        path = _safe_path(entry, archive)
        if entry.is_dir() or path.parts[0] == "__MACOSX":
            continue
        inner = path.relative_to(name) if path.parts[0] == name and len(path.parts) > 1 else path
        if str(inner).casefold() in seen:
            raise UserError(f"{archive}: holds two files named {inner}; not unpacked")
        seen.add(str(inner).casefold())
        entries[inner] = entry
    total, packed = sum(entry.file_size for entry in entries.values()), archive.stat().st_size
    if total > min(packed * EXPANSION_LIMIT, SIZE_LIMIT):
        raise UserError(f"{archive}: {packed} bytes that unpack to {total}; not unpacked, it may be a zip bomb")
    return entries


def _safe_path(entry: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise UserError(f"{archive}: {entry.filename} is a link or device; not unpacked")
    if not path.parts or path.is_absolute() or ".." in path.parts or set(entry.filename) & set("\\:\0"):
        raise UserError(f"{archive}: {entry.filename!r} would lie outside the folder; not unpacked")
    # Other ways fail by errors of their own, and no program packs pictures so.
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UserError(f"{archive}: {entry.filename} is packed in a way that is not read; not unpacked")
    if entry.flag_bits & 1:
        raise UserError(f"{archive}: {entry.filename} is encrypted; not unpacked")
    return path


def _extract(content: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path) -> None:
    make_folder(file.parent)
    part = file.with_name(f"{file.name}.part")
    # Reading stops at the size the entry names, which was counted above, and checks its CRC.
    with faults_told(part, kept=True), content.open(entry) as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    part.replace(file)
