"""Masks and probabilities that any method left in files, scored like a model's."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.data.images.decode import PICTURE_SUFFIXES, decode, decode_mask
from mbdcnn.errors import UserError
from mbdcnn.evaluation.results import Result
from mbdcnn.inference.tables import FORMULAS

MASK_ENDINGS = ("", "_segmentation", "_mask")
ID_COLUMNS = ("image_id", "id", "name", "image", "isic_id", "file")


@dataclass(frozen=True)
class FileMethod:
    """Results read from files; masks are read one by one, when their turn comes."""

    path: Path
    probabilities: Mapping[str, tuple[float, ...]]
    masks: Mapping[str, Path]
    thresholds: tuple[OperatingPoint, ...] = field(default=())

    def results(self, data: PreparedData, rows: Sequence[Row]) -> Iterator[Result]:
        """Give what the files say of each row.

        Raises:
            UserError: a mask is no mask, or not of its picture's size.
        """
        for row in rows:
            mask = _mask(self.masks[row.id], row) if row.id in self.masks and row.has_mask else None
            yield Result(probabilities=self.probabilities.get(row.id), mask=mask)

    def of_rows(self, rows: Sequence[Row], allow_missing: bool) -> list[Row]:
        """Give the rows that the files have all results for that they have for any.

        Raises:
            UserError: some are missing and that is not allowed, or all are.
        """
        present = [row for row in rows if not self._missing(row)]
        missing = [row.id for row in rows if self._missing(row)]
        if not present:
            raise UserError(f"{self.path}: nothing in it for any of the {len(rows)} images, such as {rows[0].id}")
        if missing and not allow_missing:
            names = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise UserError(
                f"{self.path}: {len(missing)} of {len(rows)} images are missing: {names} "
                "(--allow-missing to score the rest)"
            )
        return present

    def fingerprint(self, rows: Sequence[Row]) -> str:
        """Name the content that is scored."""
        digest = hashlib.sha256()
        for row in rows:
            mask = file_digest(self.masks[row.id]) if row.id in self.masks else ""
            digest.update(repr((row.id, mask, self.probabilities.get(row.id))).encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _missing(self, row: Row) -> bool:
        no_mask = bool(self.masks) and row.has_mask and row.id not in self.masks
        return no_mask or (bool(self.probabilities) and row.label is not None and row.id not in self.probabilities)


def open_predictions(path: Path, classes: Sequence[str], rows: Sequence[Row]) -> FileMethod:
    """Find masks and probabilities of images.

    Args:
        path: a CSV file with an id and a column for each class (the first may be wanting), or a folder with masks
            `ID.png`, `ID_segmentation.png` or `ID_mask.png`, such a CSV file, or both.
        classes: names of the columns.
        rows: the images.

    Raises:
        UserError: there is neither, or a table cannot be understood.
    """
    if path.is_file():
        return FileMethod(path, _read_probabilities(path, classes), {})
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; name a folder of masks or a CSV file of probabilities")
    masks = {row.id: file for row in rows if (file := _mask_file(path, row.id)) is not None}
    tables = [file for file in sorted(path.glob("*.csv")) if _is_table(file, classes)]
    if len(tables) > 1:
        raise UserError(f"{path}: {tables[0].name} and {tables[1].name} both hold probabilities; keep one")
    if not tables and not masks:
        names = ", ".join(f"{rows[0].id}{ending}.png" for ending in MASK_ENDINGS)
        raise UserError(f"{path}: no masks such as {names}, and no CSV file with the columns id, {', '.join(classes)}")
    return FileMethod(path, _read_probabilities(tables[0], classes) if tables else {}, masks)


def _mask_file(folder: Path, image_id: str) -> Path | None:
    found = [file for ending in MASK_ENDINGS if (file := folder / f"{image_id}{ending}.png").is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: {found[0].name} and {found[1].name} are both masks of {image_id}; keep one")
    return found[0] if found else None


def _mask(file: Path, row: Row) -> npt.NDArray[np.bool_]:
    lesion = decode_mask(file)
    if lesion.shape != (row.height, row.width):
        raise UserError(
            f"{file}: {lesion.shape[1]} x {lesion.shape[0]} pixels, its picture has {row.width} x {row.height}; "
            "a mask must have its picture's size"
        )
    grey = np.asarray(decode(file)).max(axis=2)
    # A map of probabilities read as a mask would count every pixel above 0 as lesion.
    if not np.all((grey == 0) | (grey == grey.max())):
        raise UserError(f"{file}: has shades of grey; a mask holds two values, 0 for skin and another for lesion")
    return lesion


def _is_table(file: Path, classes: Sequence[str]) -> bool:
    header = [name for name, _ in _header(_text(file))]
    return any(name in ID_COLUMNS for name in header) and all(_plain(name) in header for name in classes[1:])


def _read_probabilities(file: Path, classes: Sequence[str]) -> dict[str, tuple[float, ...]]:
    text = _text(file)
    columns = dict(_header(text))
    id_column = next((columns[name] for name in ID_COLUMNS if name in columns), None)
    missing = [name for name in classes[1:] if _plain(name) not in columns]
    if id_column is None or missing:
        wanted = missing[0] if missing else f"id (or one of {', '.join(ID_COLUMNS)})"
        raise UserError(f"{file}: no column {wanted}; expected id and {', '.join(classes)}")
    table: dict[str, tuple[float, ...]] = {}
    for number, row in enumerate(_lines(file, text), 2):
        image_id = _image_id(row[id_column] or "")
        if image_id in table:
            raise UserError(f"{file} row {number}: the id {image_id} stands twice")
        cells = [row.get(columns[_plain(name)]) if _plain(name) in columns else None for name in classes]
        if any(cells):
            table[image_id] = _probabilities(cells, f"{file} row {number}", classes)
    return table


def _lines(file: Path, text: str) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(StringIO(text, newline=""))
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{file}: {error}, after line {reader.line_num}; look for a stray quotation mark") from None


def _probabilities(cells: Sequence[str | None], where: str, classes: Sequence[str]) -> tuple[float, ...]:
    try:
        others = [float(cell or "") for cell in cells[1:]]
        # Tables of the ISIC-2017 challenge have no column for the benign rest.
        first = float(cells[0]) if cells[0] else max(0.0, 1 - sum(others))
    except ValueError:
        raise UserError(f"{where}: not a number for each of {', '.join(classes)}") from None
    values = (first, *others)
    if not all(math.isfinite(value) and -1e-6 <= value <= 1 + 1e-6 for value in values):
        raise UserError(f"{where}: a probability is not between 0 and 1")
    return tuple(min(1.0, max(0.0, value)) for value in values)


def _header(text: str) -> list[tuple[str, str]]:
    """Pair each column's plain name with the name as written."""
    # The first line alone, which no stray quotation mark further down can spoil.
    try:
        written = next(csv.reader(text.splitlines()[:1]), [])
    except csv.Error:
        written = []  # the name of no column is so long
    return [(_plain(name), name) for name in written]


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _image_id(cell: str) -> str:
    name = cell.strip()
    if name.startswith("'") and name[1:].startswith(FORMULAS):
        name = name[1:]
    path = Path(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in PICTURE_SUFFIXES else name


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
