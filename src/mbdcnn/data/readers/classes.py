"""The classes of own tables, where none are configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from mbdcnn.errors import UserError
from mbdcnn.system.tables import plain, read_table
from mbdcnn.system.yaml import option

BENIGN = ("nevus", "nv", "benign", "normal", "negative", "no", "0")
"""Names of the benign rest, as `plain` gives them, the likeliest first."""
NO_CLASS = frozenset({"unknown", "unlabelled", "unlabeled", "missing", "none", "nan", "null", "n/a", "na", "?"})
ALIKE = 0.9
"""Similarity from which on two names are taken for one that is mistyped: `melanoma` and `melanomaa` have 0.94."""


def classes_of(tables: Sequence[Path], default: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """Find the classes that tables name in their columns `label`.

    Args:
        tables: tables of a user's own.
        default: the classes where the tables name no others.

    Returns:
        Names as first written, the benign rest first (a usual name of it, else the class of most images) and the others
        by alphabet, and a line that says so; the default and None where all names are among them.

    Raises:
        UserError: there is one class alone, a label says that there is none, or two names differ by a slip.
    """
    counts: Counter[str] = Counter()
    spelling: dict[str, str] = {}
    for file in tables:
        for row in read_table(file, known=("image", "label")).rows:
            for part in row.cells.get("label", "").split("|"):
                written = part.partition(":")[0] if "|" in row.cells.get("label", "") else part
                if name := plain(written):
                    _check_class(name, row.where)
                    spelling.setdefault(name, " ".join(written.split()))
                    counts[name] += 1
    if {*counts} <= {plain(name) for name in default}:
        return tuple(default), None
    where = ", ".join(map(str, tables))
    if len(counts) == 1:
        [only] = (spelling[name] for name in counts)
        raise UserError(
            f"{where}: all labels are {only!r}, and a classifier tells two classes or more apart; "
            f"name another, the benign one first: {option('classes', ['other', only])}"
        )
    first = next((name for name in BENIGN if name in counts), counts.most_common(1)[0][0])
    order = [first, *sorted(counts.keys() - {first})]
    names = tuple(spelling[name] for name in order)
    _check_slips(order, {plain(name): name for name in default} | spelling, where)
    listed = ", ".join(f"{spelling[name]} {counts[name]}" for name in order)
    return names, (
        f"classes from the table: {listed}, the first being the benign rest; for another order give "
        f"{option('classes', list(names))}"
    )


def _check_class(name: str, where: str) -> None:
    if name in NO_CLASS:
        raise UserError(
            f"{where}: label {name!r} is no class; leave the cell empty, or give the classes, it among them: "
            f"{option('classes', ['nevus', 'melanoma', name])}"
        )


def _check_slips(names: Sequence[str], spelling: dict[str, str], where: str) -> None:
    for name in names:
        others = [other for other in spelling if other != name]
        if alike := get_close_matches(name, others, 1, ALIKE):
            raise UserError(
                f"{where}: the classes {spelling[name]!r} and {spelling[alike[0]]!r} look like one; write them alike "
                f"or, if both are meant, give {option('classes', [spelling[each] for each in names])}"
            )
