"""`predictions.json` and `predictions.csv`, written line by line so that any number of images fits in memory."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbdcnn.data.readers.ids import FORMULAS

Entry = dict[str, Any]
"""What is said of one file: `file`, `name`, and a prediction's numbers or a `problem`."""
JSON, CSV = "predictions.json", "predictions.csv"
NAME_BYTES = 200
"""Of a result's name before its ending: file systems take 255 in all."""


@dataclass(frozen=True)
class Entries:
    """All entries in their order, read from the table one by one."""

    table: Path
    """`predictions.json`: a list with one entry a line."""
    count: int

    def __iter__(self) -> Iterator[Entry]:
        with self.table.open(encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("{"):
                    # Ends where the entry does, before the comma.
                    yield json.JSONDecoder().raw_decode(line)[0]

    def __len__(self) -> int:
        return self.count


@contextmanager
def writing_tables(out: Path, classes: Sequence[str], points: Sequence[str]) -> Iterator[Callable[[Entry], None]]:
    """Give a function that adds an entry to both tables, which take their place once the block ends without an error.

    Args:
        out: folder of the tables.
        classes: class names.
        points: names of the operating points.
    """
    drafts = {name: out / f".{name}" for name in (JSON, CSV)}
    try:
        with (
            drafts[JSON].open("w", encoding="utf-8") as objects,
            drafts[CSV].open("w", encoding="utf-8", errors="surrogateescape", newline="") as rows,
        ):
            writer = csv.DictWriter(rows, fieldnames=list(flat({}, classes, points)))
            writer.writeheader()
            before = "[\n"

            def add(entry: Entry) -> None:
                nonlocal before
                objects.write(before + json.dumps(entry))
                before = ",\n"
                writer.writerow({name: as_cell(value) for name, value in flat(entry, classes, points).items()})

            yield add
            objects.write("[\n]\n" if before == "[\n" else "\n]\n")
    except BaseException:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise
    for name, draft in drafts.items():
        draft.replace(out / name)


def as_cell(value: Any) -> Any:
    """Give what is written of a value: 1 and 0 for yes and no, and a quote before what a spreadsheet would compute."""
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return int(value) if isinstance(value, bool) else value


def flat(entry: Entry, classes: Sequence[str], points: Sequence[str]) -> Entry:
    """Give the columns of a table for one entry; None where it says nothing."""
    box, uncertainty = entry.get("bounding_box") or {}, entry.get("uncertainty") or {}
    diameter = entry.get("longest_diameter") or {}
    return {
        "file": entry.get("file"),
        "name": entry.get("name"),
        **{name: entry.get("probabilities", {}).get(name) for name in classes},
        "decision": entry.get("decision"),
        **{name: entry.get("decisions", {}).get(name) for name in points},
        "ood_score": entry.get("ood_score"),
        "looks_like_dermoscopy": entry.get("looks_like_dermoscopy"),
        "coarse_mask_source": entry.get("coarse_mask_source"),
        "mask_source": entry.get("mask_source"),
        "area_fraction": entry.get("area_fraction"),
        "area_pixels": entry.get("area_pixels"),
        "area_square_millimetres": entry.get("area_square_millimetres"),
        **{f"longest_diameter_{unit}": diameter.get(unit) for unit in ("pixels", "millimetres")},
        **{edge: box.get(edge) for edge in ("left", "upper", "right", "lower")},
        **{f"uncertainty_{name}": uncertainty.get(name) for name in ("entropy", "outline", "disagreement")},
        "problem": entry.get("problem"),
    }


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
