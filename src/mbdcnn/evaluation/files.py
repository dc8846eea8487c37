"""Masks and probabilities that any method left in files, scored like a model's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.data.images.decoding import read_mask
from mbdcnn.data.readers.folders import is_hidden, some
from mbdcnn.data.readers.ids import ID_COLUMNS, Ids, bare
from mbdcnn.data.readers.mask_files import find_masks
from mbdcnn.errors import UserError
from mbdcnn.evaluation.results import Result
from mbdcnn.system.tables import identified, number, plain, read_lines, read_table

TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class FileMethod:
    """Results read from files; masks are read one by one, when their turn comes."""

    path: Path
    probabilities: Mapping[str, tuple[float, ...]]
    masks: Mapping[str, Path]
    thresholds: tuple[OperatingPoint, ...] = field(default=())
    said: str = ""
    """What was left out, and why."""
    grey: set[str] = field(default_factory=set)
    """Images whose mask, read so far, had grey edges and was cut at half."""

    def results(self, data: PreparedData, rows: Sequence[Row]) -> Iterator[Result]:
        """Give what the files say of each row.

        Raises:
            UserError: a mask is no mask, or not of its image's size.
        """
        for row in rows:
            mask = self._mask(row) if row.id in self.masks and row.has_mask else None
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

    def _mask(self, row: Row) -> npt.NDArray[np.bool_]:
        file = self.masks[row.id]
        lesion = read_mask(file)
        width, height = lesion.image.size
        if (width, height) != (row.width, row.height):
            stored = (
                " as EXIF turns it; this one fits it unturned" if (height, width) == (row.width, row.height) else ""
            )
            raise UserError(
                f"{file}: {width} x {height} pixels, its image has {row.width} x {row.height}{stored}; a mask "
                "must have its image's size"
            )
        if lesion.grey:
            self.grey.add(row.id)
        return np.asarray(lesion.image)

    def _missing(self, row: Row) -> bool:
        no_mask = bool(self.masks) and row.has_mask and row.id not in self.masks
        return no_mask or (bool(self.probabilities) and row.label is not None and row.id not in self.probabilities)


def open_predictions(path: Path, classes: Sequence[str], rows: Sequence[Row]) -> FileMethod:
    """Find masks and probabilities of images.

    Args:
        path: a CSV file with an id and a column for each class (the first may be missing), or a folder with masks
            `ID.png`, `ID_segmentation.png`, `ID_mask.png` or `ID_lesion.png`, such a CSV file, or both.
        classes: names of the columns.
        rows: the images.

    Raises:
        UserError: there is neither, or a table cannot be understood.
    """
    if path.is_file():
        return FileMethod(path, _read_probabilities(path, classes, rows), {})
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; name a folder of masks or a CSV file of probabilities")
    masks = find_masks(path, [row.id for row in rows])
    texts = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES and not is_hidden(file))
    tables = [file for file in texts if _is_table(file, classes)]
    if len(tables) > 1:
        raise UserError(f"{path}: {tables[0].name} and {tables[1].name} both hold probabilities; keep one")
    if not tables and not masks.of:
        there = some([file.name for file in (*masks.unused, *texts)])
        raise UserError(
            f"{path}: no masks such as {rows[0].id}.png or {rows[0].id}_mask.png, and no CSV file with the columns id, "
            f"{', '.join(classes)}" + (f"; there are {there}" if there else "")
        )
    unread = [file.name for file in texts if file not in tables]
    said = f"not read, for want of columns for {', '.join(classes)}: {some(unread)}" if unread else ""
    return FileMethod(path, _read_probabilities(tables[0], classes, rows) if tables else {}, masks.of, said=said)


def _known(classes: Sequence[str]) -> tuple[str, ...]:
    return (*ID_COLUMNS, *classes)


def _is_table(file: Path, classes: Sequence[str]) -> bool:
    lines = read_lines(file, _known(classes), errors="surrogateescape")
    header = lines[0].plain if lines else set[str]()
    return not header.isdisjoint(ID_COLUMNS) and header >= {plain(name) for name in classes[1:]}


def _read_probabilities(file: Path, classes: Sequence[str], rows: Sequence[Row]) -> dict[str, tuple[float, ...]]:
    # Our own tables hold the names of files, which need not be UTF-8.
    table = read_table(file, _known(classes), errors="surrogateescape")
    expected = f"id and {', '.join(classes)}"
    table.need(classes[1:], expected)
    if not table.columns.keys() & set(ID_COLUMNS):
        raise table.lacks(f"id (or one of {', '.join(ID_COLUMNS)})", expected)
    column, ids = identified(table, ID_COLUMNS, Ids(row.id for row in rows).find)
    found: dict[str, tuple[float, ...]] = {}
    for row, known in zip(table.rows, ids, strict=True):
        image_id = known or bare(row.cells[column])
        if image_id in found:
            raise UserError(f"{row.where}: the id {image_id} is a duplicate")
        cells = [row.cells.get(plain(name), "") for name in classes]
        if any(cells):
            found[image_id] = _probabilities(cells, row.where, classes)
    if not any(ids):
        raise UserError(
            f"{file}: nothing in it for any of the {len(rows)} images: its column {table.columns[column]} names "
            f"{some(list(found)) or 'none'}, the images are called {some([row.id for row in rows])}"
        )
    return found


def _probabilities(cells: Sequence[str], where: str, classes: Sequence[str]) -> tuple[float, ...]:
    numbers = [number(cell) for cell in cells]
    others = [value for value in numbers[1:] if value is not None]
    # Tables of the ISIC-2017 challenge have no column for the benign rest.
    first = numbers[0] if cells[0] else max(0.0, 1 - sum(others))
    if first is None or len(others) < len(classes) - 1:
        raise UserError(f"{where}: not a number for each of {', '.join(classes)}")
    values = (first, *others)
    if not all(math.isfinite(value) and -1e-6 <= value <= 1 + 1e-6 for value in values):
        raise UserError(f"{where}: a probability is not between 0 and 1")
    return tuple(min(1.0, max(0.0, value)) for value in values)
