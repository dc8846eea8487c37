"""Prediction of many files: results written one by one, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import DRAWN_SIDE, Prediction, write_maps
from mbdcnn.inference.predictor import Job, Predictor
from mbdcnn.inference.tables import JSON, Entries, Entry, unique_names, writing_tables
from mbdcnn.system.extras import not_installed
from mbdcnn.system.files import faults_told, make_folder
from mbdcnn.system.progress import Progress, silent

if TYPE_CHECKING:
    from mbdcnn.inference.dicom_results import Origin

PICTURE_FILES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm", ".dicom"}
MASK_SUFFIXES = ("_segmentation", "_superpixels")
"""Files that lie beside the pictures in the ISIC layout."""


def find_pictures(sources: Sequence[str], apart_from: Path | None = None) -> list[Path]:
    """List the pictures that files, folders and glob patterns name, each once.

    Args:
        sources: what the user named.
        apart_from: folder of earlier results, which folders and patterns pass over.

    Raises:
        UserError: one of them names none.
    """
    results = apart_from.resolve() if apart_from else None
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_file():
            files = [path]
        else:
            names = path.rglob("*") if path.is_dir() else map(Path, glob(source, recursive=True))
            files = [file for file in sorted(names) if _is_picture(file) and results not in file.resolve().parents]
        if not files:
            raise UserError(f"{source}: no pictures there")
        found |= dict.fromkeys(files)
    return list(found)


@dataclass(frozen=True)
class PictureList:
    """Pictures that a text file names, one a line; read anew each time, so that any number fits in memory."""

    file: Path

    def __iter__(self) -> Iterator[str]:
        with self.file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from names_in(lines)


def names_in(lines: Iterable[str]) -> Iterator[str]:
    """Give the name on each line that is not empty."""
    return (name for line in lines if (name := line.rstrip("\r\n")))


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    out: Path,
    protocol: ProtocolName = "fast",
    progress: Progress = silent,
    *,
    maps: bool = True,
    dicom: bool = False,
) -> Entries:
    """Predict files and write `NAME_mask.png`, `_coarse.png`, `_cam.jpg` and `_overlay.jpg` for each into `out`.

    `predictions.json` and `predictions.csv` list them all. A file that cannot be read is listed with the reason
    under `problem`, and the rest go on.

    Args:
        predictor: the model.
        files: the pictures.
        out: folder to write.
        protocol: how the networks look at them.
        progress: told after each file.
        maps: write these pictures; the tables alone otherwise.
        dicom: also write `NAME_segmentation.dcm` and `NAME_report.dcm`; every file must then be a DICOM file.

    Returns:
        One entry a file: what `predictions.json` holds, read from it when asked for.

    Raises:
        UserError: results would lie among the pictures, where they could replace masks of the same name; or the
            extra `dicom` is needed and not there; or the disk is full or cannot be written.
    """
    if dicom:
        _check_dicom()
    among = next((file for file in files if file.resolve().parent == out.resolve()), None)
    if among is not None:
        raise UserError(f"{out}: {among.name} lies there; choose another folder for the results")
    make_folder(out)
    calibration = predictor.bundle.calibration(protocol)
    points = [point.name for point in calibration.operating_points] if calibration else []
    finish, done = partial(_finish, predictor, out, dicom), 0
    jobs = (FileJob(file, name) for file, name in zip(files, unique_names(files), strict=True))
    with faults_told(out), writing_tables(out, predictor.classes, points) as add:
        for entry in predictor.predict_stream(jobs, finish, protocol, shown=DRAWN_SIDE if maps else 0):
            add(entry)
            done += 1
            progress(done, len(files))
    return Entries(out / JSON, done)


@dataclass
class FileJob(Job):
    """A file on its way through."""

    image: Path
    name: str


def _finish(predictor: Predictor, out: Path, dicom: bool, job: FileJob, prediction: Prediction | None) -> Entry:
    """Write the files of a prediction, and give its entry."""
    entry: Entry = {"file": str(job.image), "name": job.name}
    if prediction is None:
        return entry | {"problem": str(job.problem)}
    try:
        origin = _origin(job.image, predictor) if dicom else None
    except UserError as error:
        return entry | {"problem": str(error)}
    entry |= prediction.to_dict()
    if prediction.picture is not None:
        write_maps(prediction, out, job.name)
    if origin is not None:
        _write_dicom(out, entry, origin, prediction)
    return entry


def _check_dicom() -> None:
    try:
        import_module("mbdcnn.inference.dicom_results")
    except ImportError:
        raise not_installed("writing DICOM files", "dicom") from None


def _origin(file: Path, predictor: Predictor) -> Origin:
    from mbdcnn.inference.dicom_results import origin_of

    return origin_of(file, predictor.bundle)


def _write_dicom(out: Path, entry: Entry, origin: Origin, prediction: Prediction) -> None:
    from mbdcnn.inference.dicom_results import write_results

    try:
        write_results(prediction, origin, out, entry["name"])
    except UserError as error:
        entry["problem"] = str(error)


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_FILES and not path.stem.endswith(MASK_SUFFIXES)
