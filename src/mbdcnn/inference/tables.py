"""`predictions.json` and `predictions.csv`, written line by line so that any number of pictures fits in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""What is said of one file: `file`, `name`, and a prediction's numbers or a `problem`."""
JSON, CSV = "predictions.json", "predictions.csv"


@dataclass(frozen=True)
class Entries:
    """All entries in their order, read from the table one by one."""

    table: Path
    """`predictions.json`: a list with one entry a line."""
    count: int

    def __iter__(self) -> Iterator[Entry]:
        with self.table.open(encoding="utf-8") as stream:
            for line in stream:
                text = line.rstrip(",\n")
                if text not in {"[", "]"}:
                    yield json.loads(text)

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
            writer = csv.DictWriter(rows, fieldnames=list(_flat({}, classes, points)))
            writer.writeheader()
            before = "[\n"

            def add(entry: Entry) -> None:
                nonlocal before
                objects.write(before + json.dumps(entry))
                before = ",\n"
                writer.writerow(_flat(entry, classes, points))

            yield add
            objects.write("[\n]\n" if before == "[\n" else "\n]\n")
    except BaseException:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise
    for name, draft in drafts.items():
        draft.replace(out / name)


def _flat(entry: Entry, classes: Sequence[str], points: Sequence[str]) -> Entry:
    box, uncertainty = entry.get("bounding_box") or {}, entry.get("uncertainty") or {}
    return {
        "file": entry.get("file"),
        "name": entry.get("name"),
        **{name: entry.get("probabilities", {}).get(name) for name in classes},
        "decision": entry.get("decision"),
        **{name: _digit(entry.get("decisions", {}).get(name)) for name in points},
        "unfamiliarity": entry.get("unfamiliarity"),
        "looks_like_dermoscopy": _digit(entry.get("looks_like_dermoscopy")),
        "area_fraction": entry.get("area_fraction"),
        **{edge: box.get(edge) for edge in ("left", "upper", "right", "lower")},
        **{f"uncertainty_{name}": uncertainty.get(name) for name in ("entropy", "outline", "disagreement")},
        "problem": entry.get("problem"),
    }


def _digit(answer: bool | None) -> int | None:
    return None if answer is None else int(answer)
