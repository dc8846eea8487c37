"""A user's own images, listed in a CSV file: `image,mask,label,split` and, if wanted, more.

`id` names an image, `patient` those of one patient, `lesion` or `group` others that belong together, `source` the
collection it comes from; `weight` says how often it is drawn in training beside an image of weight 1, `aspect` the
width over height that it had before it was squashed.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mbdcnn.data.readers.folders import existing
from mbdcnn.data.readers.groups import GROUP_COLUMNS, group_names
from mbdcnn.data.readers.records import TABLE, RawData, Record, class_index, class_shares
from mbdcnn.errors import UserError
from mbdcnn.system.tables import Row, Table, folded, is_row_number, number, plain, read_table

SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
          "valid": "validation", "test": "test", "testing": "test"}  # fmt: skip

FOLDERS = 50
"""At most so many go into an id; what they do not tell apart is told to be there twice."""

_COLUMNS = ("id", "image", "mask", "label", "split", *GROUP_COLUMNS, "weight", "source", "aspect")
_REQUIRED = ("image",)


def read(file: Path, classes: tuple[str, ...]) -> RawData:
    """Read a table; paths in it are relative to its folder. Ids are the files' names unless a column gives them.

    Without a column `split` the split of every record is empty, for `splitting.divided`.

    Raises:
        UserError: a column, image or mask is missing, or a split or label unknown.
    """
    table = read_table(file, known=_COLUMNS)
    table.need(_REQUIRED, "image,mask,label,split (and id, patient if wanted)")
    if not table.columns.keys() & {"mask", "label"}:
        raise UserError(f"{file}: neither a column mask nor a column label; nothing could be learnt from it")
    if not table.rows:
        raise UserError(f"{file}: no rows below the header")
    unnamed = next((row.where for row in table.rows if not Path(row.cells["image"].replace("\\", "/")).stem), None)
    if unnamed:
        raise UserError(f"{unnamed}: no image")
    unused = table.unused(_COLUMNS)
    if "split" not in table.columns:
        _check_split_elsewhere(table)
    notes = [f"{file.name}: columns not used: {', '.join(unused)}"] if unused else []
    numbered = "id" in table.columns and is_row_number(table, "id")
    if numbered:
        notes.append(f"{file.name}: column id only numbers the rows; the ids are the files' names")
    ids = _ids([{**row.cells, "id": ""} if numbered else row.cells for row in table.rows])
    folder = _Folder(file.parent)
    groups = group_names([row.cells for row in table.rows])
    records = [
        _record(row, image_id, folder, classes, group)
        for row, image_id, group in zip(table.rows, ids, groups, strict=True)
    ]
    _check_repeats(table.rows, records)
    return RawData(TABLE, file.parent, records, [file], notes)


def _record(line: Row, image_id: str, folder: _Folder, classes: tuple[str, ...], group: str | None) -> Record:
    cells = line.cells
    split = SPLITS.get(plain(cells["split"])) if "split" in cells else ""
    if split is None:
        raise UserError(f"{line.where}: split {cells['split']!r}; expected train, validation or test")
    label, mask = cells.get("label", ""), cells.get("mask", "")
    shares = class_shares(label, classes, line.where) if "|" in label else None
    certain = class_index(label, classes, line.where) if label and shares is None else None
    return Record(
        id=image_id,
        image=folder.file(cells["image"], line.where),
        mask=folder.file(mask, line.where) if mask else None,
        label=certain if shares is None else shares.index(max(shares)),
        split=split,
        patient=group,
        shares=shares,
        weight=_positive(cells, "weight", line.where) or 1.0,
        aspect=_positive(cells, "aspect", line.where),
        source=cells.get("source", ""),
    )


def _check_split_elsewhere(table: Table) -> None:
    for column, written in table.columns.items():
        words = {plain(row.cells[column]) for row in table.rows}
        if column not in _COLUMNS and words and words <= SPLITS.keys():
            raise UserError(
                f"{table.file}: no column split, but {written} holds {', '.join(sorted(words))}; call it split"
            )


def _positive(cells: Mapping[str, str], column: str, where: str) -> float | None:
    if not (text := cells.get(column)):
        return None
    if not 0 < (value := number(text) or -1.0) < math.inf:
        raise UserError(f"{where}: {column} {text!r}; expected a number above 0, such as 0.5, or nothing")
    return value


class _Folder:
    """The folder that a table's paths are relative to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listed: dict[Path, dict[str, list[str]]] = {}

    def file(self, name: str, where: str) -> Path:
        """Find a file by its name, as written here or on Windows, or in another case or Unicode form.

        Raises:
            UserError: there is none, or only in other cases, of which there are several.
        """
        path = self.path / os.path.expanduser(name)
        for candidate in (path, self.path / name.replace("\\", "/")):
            found = existing(candidate, self.listed)
            # Not Path's own, which raises an error where a name is too long.
            if found is not None and os.path.isfile(found):
                return found
        raise UserError(f"{where}: {path}: no such file (paths are relative to the table's folder)")


def _ids(rows: list[Mapping[str, str]]) -> list[str]:
    """Take the id column, else the file's name, led by as many folder names as tell equal ones apart."""
    paths = [Path(row["image"].replace("\\", "/")) for row in rows]
    depths = [1] * len(rows)
    for _ in range(min(FOLDERS, max(len(path.parts) for path in paths))):
        ids = [row.get("id") or _joined(path, depth) for row, path, depth in zip(rows, paths, depths, strict=True)]
        count = Counter(folded(name) for name in ids)
        if len(count) == len(ids):
            break
        depths = [depth + (count[folded(name)] > 1) for name, depth in zip(ids, depths, strict=True)]
    return ids


def _joined(path: Path, depth: int) -> str:
    parts = [part for part in path.with_suffix("").parts if part not in {"/", ".", ".."}]
    return "_".join(parts[-depth:])


def _check_repeats(lines: list[Row], records: list[Record]) -> None:
    seen: dict[str, str] = {}
    for line, record in zip(lines, records, strict=True):
        earlier = seen.setdefault(folded(record.id), line.where)
        if earlier != line.where:
            raise UserError(
                f"{line.where}: the id {record.id} is a duplicate of {earlier}; remove one row or add a column id"
            )
