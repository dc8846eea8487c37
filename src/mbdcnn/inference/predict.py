"""Prediction of many files: results written one by one, in bounded memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from mbdcnn.data.images.decode import Decoded, decode_at_least
from mbdcnn.errors import UserError
from mbdcnn.inference.answer import words
from mbdcnn.inference.overlay import with_key
from mbdcnn.inference.prediction import Prediction, cam_overlay, overlay
from mbdcnn.inference.predictor import Predictor, as_picture
from mbdcnn.inference.protocol import Inputs, ProtocolName, inputs_of_picture
from mbdcnn.inference.tables import JSON, Entries, Entry, writing_tables
from mbdcnn.system.files import faults_told, make_folder, replacing
from mbdcnn.system.progress import Progress, silent
from mbdcnn.system.tables import encoding_of, identified, plain, read_table

if TYPE_CHECKING:
    from mbdcnn.inference.dicom_results import Origin

OVERLAY_SIDE = 1600
"""Longer side of overlay pictures; masks keep the picture's own size."""
NAME_BYTES = 200
"""Of a result's name before its ending: file systems take 255 in all."""
_LISTING = ("image", "file")
"""Columns of a table that may serve as a list."""


@dataclass(frozen=True)
class PictureList:
    """Pictures that a file names, one a line; read anew each time, so that any number fits in memory.

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
    work, done = _Work(predictor, out, protocol, maps, dicom), 0
    jobs = (_Job(file, name) for file, name in zip(files, unique_names(files), strict=True))
    with faults_told(out), writing_tables(out, predictor.classes, points) as add:
        for entry in predictor.predict_stream(jobs, work.read, work.finish, protocol):
            add(entry)
            done += 1
            progress(done, len(files))
    return Entries(out / JSON, done)


@dataclass
class _Job:
    """A file on its way through, with what is kept of it to write results."""

    file: Path
    name: str
    small: Image.Image | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        self.entry: Entry = {"file": str(self.file), "name": self.name}


@dataclass(frozen=True)
class _Work:
    """What is done to a file before and after the networks."""

    predictor: Predictor
    out: Path
    protocol: ProtocolName
    maps: bool
    dicom: bool

    def read(self, job: _Job) -> Inputs | None:
        """Decode and resample; None where that fails, and the entry says why."""
        try:
            job.origin = _origin(job.file, self.predictor) if self.dicom else None
            picture = as_picture(job.file, self.predictor.bundle.config.data)
        except UserError as error:
            job.entry["problem"] = str(error)
            return None
        inputs = inputs_of_picture(picture, self.predictor.bundle.config.data, self.protocol)
        if self.maps:
            job.small = _to_draw_on(job.file, picture)
        return inputs

    def finish(self, job: _Job, prediction: Prediction | None) -> Entry:
        """Write the files of a prediction and complete its entry."""
        if prediction is not None:
            job.entry |= prediction.to_dict()
            if job.small is not None:
                _write_pictures(self.out, job.name, job.small, prediction)
            if job.origin is not None:
                _write_dicom(self.out, job.entry, job.origin, prediction)
        return job.entry


def _to_draw_on(file: Path, picture: Decoded) -> Image.Image:
    enough = picture.shrunk == 1 or max(picture.image.size) >= OVERLAY_SIDE
    small = picture.image if enough else decode_at_least(file, OVERLAY_SIDE).image
    small.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE), Image.Resampling.HAMMING)
    return small


def _check_dicom() -> None:
    try:
        import_module("mbdcnn.inference.dicom_results")
    except ImportError:
        raise UserError("to write DICOM files, pip install 'mbdcnn[dicom]'") from None


def _origin(file: Path, predictor: Predictor) -> Origin:
    from mbdcnn.inference.dicom_results import origin_of

    return origin_of(file, predictor.bundle)


def _write_dicom(out: Path, entry: Entry, origin: Origin, prediction: Prediction) -> None:
    from mbdcnn.inference.dicom_results import write_results

    try:
        write_results(prediction, origin, out, entry["name"])
    except UserError as error:
        entry["problem"] = str(error)


def _write_pictures(out: Path, name: str, small: Image.Image, prediction: Prediction) -> None:
    _save(Image.fromarray(prediction.mask), out / f"{name}_mask.png")
    _save(Image.fromarray(prediction.coarse_mask), out / f"{name}_coarse.png")
    key = f"Activation map of {words(prediction.cam_class)}; blue: outline"
    _save(with_key(cam_overlay(small, prediction), key), out / f"{name}_cam.jpg")
    _save(Image.fromarray(overlay(small, prediction)), out / f"{name}_overlay.jpg")


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as draft:
        picture.save(draft, format="PNG" if path.suffix == ".png" else "JPEG", quality=92)


def unique_names(files: Iterable[Path]) -> list[str]:
    """Give each file a name of its own: its stem, cut off if too long, and where stems repeat a number after it."""
    taken: set[str] = set()
    # Where to go on counting, so that a million files of one stem do not each count from 1.
    last: dict[str, int] = {}
    names = []
    for file in files:
        stem = _short(file.stem)
        name, number = stem, last.get(stem.lower(), 1)
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        last[stem.lower()] = number
        taken.add(name.lower())
        names.append(name)
    return names


def _short(stem: str) -> str:
    encoded = os.fsencode(stem)
    return stem if len(encoded) <= NAME_BYTES else encoded[:NAME_BYTES].decode(errors="ignore")
