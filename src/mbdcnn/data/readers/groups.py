"""Which images of an own table belong together: a patient's, a lesion's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from mbdcnn.artifacts.overlap import connected
from mbdcnn.system.tables import folded

GROUP_COLUMNS = {
    "patient": "patient",
    "patient_id": "patient",
    "group": "group",
    "lesion": "lesion",
    "lesion_id": "lesion",
}
"""Columns of an own table that say which images belong together, and what of."""


def group_names(rows: Sequence[Mapping[str, str]]) -> list[str | None]:
    """Name the patient, or else the lesion or group, of each row of a table; None where no column tells one.

    Names that differ in case alone are one, spelt as it is at first.
    """
    spelling: dict[str, str] = {}
    keys = [
        [
            (kind, spelling.setdefault(folded(row[column]), row[column]))
            for column, kind in GROUP_COLUMNS.items()
            if row.get(column)
        ]
        or [("row", str(number))]
        for number, row in enumerate(rows)
    ]
    members: dict[Hashable, list[tuple[str, str]]] = defaultdict(list)
    groups = connected(keys)
    for group, own in zip(groups, keys, strict=True):
        members[group] += own
    # A patient's own name where there is one, since other tables may name the same patient.
    named = {group: min(own, key=lambda key: (key[0] != "patient", key)) for group, own in members.items()}
    return [
        None if kind == "row" else name if kind == "patient" else f"{kind} {name}"
        for kind, name in (named[group] for group in groups)
    ]
