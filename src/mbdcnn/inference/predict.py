"""Prediction of many files: results written one by one, in bounded memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType

from mbdcnn.data.readers.folders import some
from mbdcnn.data.readers.mask_files import NAMES, find_masks
from mbdcnn.errors import UserError
from mbdcnn.inference.earlier import DICOM, MAPS, check_free, results_in
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import DRAWN_SIDE, Prediction, write_maps
from mbdcnn.inference.predictor import Job, Predictor
from mbdcnn.inference.prompts import Prompts
from mbdcnn.inference.tables import JSON, Entries, Entry, unique_names, writing_tables
from mbdcnn.system.extras import not_installed
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder
from mbdcnn.system.progress import Progress, silent
from mbdcnn.system.tables import encoding_of, identified, plain, read_table

_LISTING = ("image", "file")
"""Columns of a table that may serve as a list."""


@dataclass(frozen=True)
class ImageList:
    """Images that a file names, one a line; read anew each time, so that any number fits in memory.

    A table serves too: its column `image`, relative to its folder as in `prepare`, or `file`, as `predict` wrote it.
    """

    file: Path

    def __iter__(self) -> Iterator[str]:
        with self.file.open("rb") as stream:
            encoding = encoding_of(stream.read(4))
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        try:
            with self.file.open(encoding=encoding, errors=errors) as lines:
                top = [*islice(names_in(lines), 2)]
                if any(_is_header(line) for line in top):
                    yield from self._of_table()
                    return
                lines.seek(0)
                yield from names_in(lines)
        except UnicodeDecodeError:
            raise UserError(f"{self.file}: not UTF-8 or UTF-16; save it as UTF-8") from None

    def _of_table(self) -> Iterator[str]:
        table = read_table(self.file, _LISTING, errors="surrogateescape")
        column, names = identified(table, _LISTING, lambda cell: cell or None)
        folder = self.file.parent if column == "image" else Path()
        return (str(folder / os.path.expanduser(name)) for name in names if name)


def names_in(lines: Iterable[str]) -> Iterator[str]:
    """Give the name on each line that is not blank."""
    return (name for line in lines if (name := line.rstrip("\r\n").removeprefix("\ufeff")).strip())


def _is_header(line: str) -> bool:
    cells = {plain(cell.strip('" ')) for cell in re.split("[,;|\t]", line)}
    return bool(cells & set(_LISTING)) and not os.path.exists(line)


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    out: Path,
    protocol: ProtocolName = "fast",
    progress: Progress = silent,
    *,
    maps: bool = True,
    dicom: bool = False,
    overwrite: bool = True,
    prompts: Mapping[Path, Prompts] | None = None,
    keep_outline: bool = False,
) -> Entries:
    """Predict files and write `NAME_mask.png`, `_coarse.png`, `_cam.jpg` and `_overlay.jpg` for each into `out`.

    `predictions.json` and `predictions.csv` list them all, one that cannot be read with the reason under `problem`.

    Args:
        predictor: the model.
        files: the images.
        out: folder to write.
        protocol: how the networks are applied.
        progress: told after each file.
        maps: write these images; the tables alone otherwise.
        dicom: also write `NAME_segmentation.dcm` and `NAME_report.dcm`; every file must then be a DICOM file.
        overwrite: replace the results of an earlier prediction at `out`; what it left beside is removed in the end.
        prompts: what a person says of the coarse masks of some files, such as `masks_in` gives it.
        keep_outline: where a person gave or moved an outline, take it as the result, in place of enhanced-SN's.

    Returns:
        One entry a file: what `predictions.json` holds, read from it when asked for.

    Raises:
        UserError: results would lie among the images, whose masks they could replace; or without `overwrite` others
            lie at `out`; or the extra `dicom` is needed and not there; or the disk is full or cannot be written.
    """
    if dicom:
        _dicom()
    _check_place(out, files, overwrite)
    earlier = results_in(out)
    make_folder(out)
    points = [point.name for point in predictor.bundle.operating_points(protocol)]
    finish, said = partial(_finish, predictor, out, dicom, keep_outline), prompts or {}
    jobs = (FileJob(file, name, prompts=said.get(file)) for file, name in zip(files, unique_names(files), strict=True))
    written = (*(MAPS if maps else ()), *(DICOM if dicom else ()))
    with disk_errors_as_user_errors(out), writing_tables(out, predictor.classes, points) as add:
        entries = predictor.predict_stream(jobs, finish, protocol, shown=DRAWN_SIDE if maps else 0)
        for done, entry in enumerate(entries, start=1):
            add(entry)
            progress(done, len(files))
            earlier -= {out / f"{entry['name']}{ending}" for ending in written if "problem" not in entry}
    # Only now: a prediction that is stopped leaves the one before.
    for file in earlier:
        file.unlink(missing_ok=True)
    return Entries(out / JSON, len(files))


def masks_in(folder: Path, files: Sequence[Path]) -> dict[Path, Prompts]:
    """Find the coarse mask of each image in a folder, by the name of its file.

    Raises:
        UserError: an image has none there, or two; or two images have one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of masks")
    by_id = {file.stem: file for file in files}
    if len(by_id) < len(files):
        twice = next(file for file in files if by_id[file.stem] != file)
        raise UserError(f"{twice} and {by_id[twice.stem]} have one name, so masks cannot be told apart; rename one")
    found = find_masks(folder, by_id.keys(), {*files}).of
    missing = [image_id for image_id in by_id if image_id not in found]
    if missing:
        raise UserError(
            f"{folder}: no mask of {len(missing)} of {len(files)} images: {some(missing)}; they are looked for as "
            f"{NAMES}"
        )
    return {by_id[image_id]: Prompts(mask) for image_id, mask in found.items()}


@dataclass
class FileJob(Job):
    """A file on its way through."""

    image: Path
    name: str


def _finish(
    predictor: Predictor, out: Path, dicom: bool, keep_outline: bool, job: FileJob, prediction: Prediction | None
) -> Entry:
    """Write the files of a prediction, and give its entry."""
    entry: Entry = {"file": str(job.image), "name": job.name}
    if prediction is None:
        return entry | {"problem": str(job.problem)}
    if keep_outline and prediction.coarse_mask_source != "model":
        prediction = prediction.keep_outline()
    try:
        origin = _dicom().origin_of(job.image, predictor.bundle) if dicom else None
    except UserError as error:
        return entry | {"problem": str(error)}
    if job.inputs is not None and job.inputs.profile_ignored:
        entry["note"] = "its colour profile is damaged or of another kind of image, and was ignored"
    entry |= prediction.to_dict()
    if prediction.image is not None:
        write_maps(prediction, out, job.name)
    if dicom:
        try:
            _dicom().write_results(prediction, origin, out, job.name)
        except UserError as error:
            entry["problem"] = str(error)
    return entry


def _check_place(out: Path, files: Sequence[Path], overwrite: bool) -> None:
    among = next((file for file in files if file.resolve().parent == out.resolve()), None)
    if among is not None:
        raise UserError(f"{out}: {among.name} lies there; choose another folder for the results")
    if not overwrite:
        check_free(out)


def _dicom() -> ModuleType:
    """Give the writer of DICOM files, which is only there with its extra."""
    try:
        return import_module("mbdcnn.inference.dicom_results")
    except ImportError:
        raise not_installed("writing DICOM files", "dicom") from None
