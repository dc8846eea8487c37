"""A user's own pictures, listed in a CSV file: `image,mask,label,split` and, if wanted, more.

`id` names an image, `patient` those of one patient, `lesion` or `group` others that belong together, `source` the
collection it comes from; `weight` says how often it is drawn in training beside an image of weight 1, `aspect` the
width over height that it had before it was squashed.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from mbdcnn.data.readers.groups import GROUP_COLUMNS, group_names
from mbdcnn.data.readers.records import TABLE, RawData, Record, class_index, class_shares
from mbdcnn.errors import UserError

SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
          "valid": "validation", "test": "test"}  # fmt: skip

FOLDERS = 50
"""At most so many go into an id; what they do not tell apart is told to be there twice."""

_COLUMNS = ("id", "image", "mask", "label", "split", *GROUP_COLUMNS, "weight", "source", "aspect")
_REQUIRED = ("image", "split")


@dataclass(frozen=True)
class _Line:
    """A row of the file: its cells by column name, and where it stands."""

    cells: Mapping[str, str]
    where: str


def read(file: Path, classes: tuple[str, ...]) -> RawData:
    """Read a table; paths in it are relative to its folder. Ids are the files' names unless a column gives them.

    Raises:
        UserError: a column, picture or mask is missing, or a split or label unknown.
    """
    lines, unused = _read_lines(file)
    ids = _ids([line.cells for line in lines])
    groups = group_names([line.cells for line in lines])
    records = [
        _record(line, image_id, file.parent, classes, group)
        for line, image_id, group in zip(lines, ids, groups, strict=True)
    ]
    _check_repeats(lines, records)
    notes = [f"{file.name}: columns not used: {', '.join(unused)}"] if unused else []
    return RawData(TABLE, file.parent, records, [file], notes)


def _read_lines(file: Path) -> tuple[list[_Line], list[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not UTF-8; save it as 'CSV UTF-8'") from None
    delimiter = _delimiter(text.partition("\n")[0])
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return _lines(file, reader)
    except csv.Error as error:
        raise UserError(f"{file} row {reader.line_num}: not CSV: {error}; is a quote left open?") from None


def _lines(file: Path, reader: Any) -> tuple[list[_Line], list[str]]:
    header = [name.strip().casefold() for name in next(reader, [])]
    _check_header(file, header)
    lines: list[_Line] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{file} row {reader.line_num}"
        if len(row) > len(header):
            raise UserError(f"{where}: {len(row)} cells under {len(header)} columns; quote cells that hold a comma")
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        line = _Line(dict(zip(header, cells, strict=True)), where)
        if not Path(line.cells["image"].replace("\\", "/")).stem:
            raise UserError(f"{where}: no image")
        lines.append(line)
    if not lines:
        raise UserError(f"{file}: no rows below the header")
    return lines, [name for name in header if name not in _COLUMNS]


def _delimiter(header: str) -> str:
    """Tell commas from the semicolons and tabs that Excel writes in some countries."""
    return max(",;\t", key=header.count)


def _check_header(file: Path, header: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise UserError(f"{file}: no column {missing[0]}; expected image,mask,label,split (and id, patient if wanted)")
    if "mask" not in header and "label" not in header:
        raise UserError(f"{file}: neither a column mask nor a column label; nothing could be learnt from it")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise UserError(f"{file}: column {repeated[0]!r} stands twice")


def _record(line: _Line, image_id: str, folder: Path, classes: tuple[str, ...], group: str | None) -> Record:
    cells = line.cells
    split = SPLITS.get(cells["split"].casefold())
    if split is None:
        raise UserError(f"{line.where}: split {cells['split']!r}; expected train, validation or test")
    label, mask = cells.get("label", ""), cells.get("mask", "")
    shares = class_shares(label, classes, line.where) if "|" in label else None
    certain = class_index(label, classes, line.where) if label and shares is None else None
    return Record(
        id=image_id,
        image=_existing(folder, cells["image"], line.where),
        mask=_existing(folder, mask, line.where) if mask else None,
        label=certain if shares is None else shares.index(max(shares)),
        split=split,
        patient=group,
        shares=shares,
        weight=_positive(cells, "weight", line.where) or 1.0,
        aspect=_positive(cells, "aspect", line.where),
        source=cells.get("source", ""),
    )


def _positive(cells: Mapping[str, str], column: str, where: str) -> float | None:
    if not (text := cells.get(column)):
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise UserError(f"{where}: {column} {text!r}; expected a number above 0, such as 0.5, or nothing")
    return value


def _existing(folder: Path, name: str, where: str) -> Path:
    path = folder / os.path.expanduser(name)
    # A table made on Windows has backslashes.
    unix = folder / name.replace("\\", "/")
    for candidate in (path, unix):
        # Not Path's own, which raises an error where a name is too long.
        if os.path.isfile(candidate):
            return candidate
    raise UserError(f"{where}: {path}: no such file (paths are relative to the table's folder)")


def _ids(rows: list[Mapping[str, str]]) -> list[str]:
    """Take the id column, else the file's name, led by as many folder names as tell equal ones apart."""
    paths = [Path(row["image"].replace("\\", "/")) for row in rows]
    depths = [1] * len(rows)
    for _ in range(min(FOLDERS, max(len(path.parts) for path in paths))):
        ids = [row.get("id") or _joined(path, depth) for row, path, depth in zip(rows, paths, depths, strict=True)]
        count = Counter(name.casefold() for name in ids)
        if len(count) == len(ids):
            break
        depths = [depth + (count[name.casefold()] > 1) for name, depth in zip(ids, depths, strict=True)]
    return ids


def _joined(path: Path, depth: int) -> str:
    parts = [part for part in path.with_suffix("").parts if part not in {"/", ".", ".."}]
    return "_".join(parts[-depth:])


def _check_repeats(lines: list[_Line], records: list[Record]) -> None:
    seen: dict[str, str] = {}
    for line, record in zip(lines, records, strict=True):
        earlier = seen.setdefault(record.id.casefold(), line.where)
        if earlier != line.where:
            raise UserError(
                f"{line.where}: the id {record.id} stands already in {earlier}; remove one row or add a column id"
            )
