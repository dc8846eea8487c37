"""Images that nobody put into a split are divided into training, validation and test."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from mbdcnn.artifacts.overlap import connected
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.data.readers.records import RawData, Record
from mbdcnn.errors import UserError
from mbdcnn.system.tables import folded

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
SEED = 0
"""Always: so that preparing, training and scoring by one table agree, whatever else is configured."""


def divided(sources: Sequence[RawData]) -> list[RawData]:
    """Give each record without a split one, so that patients, lesions and equal files stay together.

    Each class, with and without mask, is divided by `SHARES` as evenly as its groups allow. Images that belong to a
    group whose split is given go into that.

    Args:
        sources: those read from tables without a column `split` have records whose split is empty.

    Returns:
        The same, each with a note of what was done.

    Raises:
        UserError: an image file cannot be read.
    """
    records = [record for source in sources for record in source.records]
    if all(record.split for record in records):
        return list(sources)
    groups = _groups(records)
    chosen = {name: next((record.split for record in group if record.split), "") for name, group in groups.items()}
    _divide({name: group for name, group in groups.items() if not chosen[name]}, chosen)
    split_of = {record.id: chosen[name] for name, group in groups.items() for record in group if not record.split}
    return [_divided(source, split_of) for source in sources]


def _divided(source: RawData, split_of: dict[str, str]) -> RawData:
    if all(record.split for record in source.records):
        return source
    records = [record if record.split else replace(record, split=split_of[record.id]) for record in source.records]
    counts = Counter(record.split for record in records)
    told = ", ".join(f"{split} {counts[split]}" for split in SHARES)
    named = {record.patient for record in records if record.patient}
    lesions = all(name.startswith(("lesion ", "group ")) for name in named)
    by = "image" if not named else "lesion" if lesions else "patient"
    shares = "/".join(f"{share:.0%}".rstrip("%") for share in SHARES.values())
    note = f"{source.name}: no split column: {shares} by {by}, seed {SEED}: {told}"
    return replace(source, records=records, notes=[*source.notes, note])


def _groups(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Give the records of each group, by a name that depends on nothing but what is in it."""
    sizes = Counter(_size(record) for record in records)
    keys = [
        [("patient", folded(record.patient)) if record.patient else ("image", record.id)]
        # Of files that no other equals in size none is read.
        + ([("file", file_digest(record.image))] if sizes[_size(record)] > 1 else [])
        for record in records
    ]
    members: dict[Hashable, list[Record]] = defaultdict(list)
    for group, record in zip(connected(keys), records, strict=True):
        members[group].append(record)
    return {min(record.patient or record.id for record in group): group for group in members.values()}


def _size(record: Record) -> int:
    try:
        return record.image.stat().st_size
    except OSError as error:
        raise UserError(f"{record.image}: {error.strerror}") from None


def _divide(groups: dict[str, list[Record]], chosen: dict[str, str]) -> None:
    def kind(record: Record) -> tuple[int, bool]:
        return -1 if record.label is None else record.label, record.mask is not None

    count = Counter(kind(record) for group in groups.values() for record in group)
    # A patient counts as a case of the rarest kind there is among the images.
    kinds = {name: min(map(kind, group), key=lambda each: (count[each], each)) for name, group in groups.items()}
    taken: Counter[tuple[tuple[int, bool], str]] = Counter()

    def shuffled(name: str) -> tuple[int, int, str]:
        return -len(groups[name]), zlib.crc32(f"{SEED} {name}".encode()), name

    for name in sorted(groups, key=shuffled):
        kind_of, size = kinds[name], len(groups[name])
        # As seats are given to parties by Sainte-Laguë's method, several at a time.
        split = max(SHARES, key=lambda split: SHARES[split] / (taken[kind_of, split] + size / 2))
        taken[kind_of, split] += size
        chosen[name] = split
