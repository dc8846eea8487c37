"""What a raw folder says about each picture, and the checks that hold for every layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mbdcnn.artifacts.names import plain_name
from mbdcnn.errors import UserError

# What no common file system takes in a name, bytes that are not UTF-8, and names that mean a folder.
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\ud800-\udfff]|^\.*$|[. ]$|^ ')


@dataclass(frozen=True)
class Record:
    """One picture as found."""

    id: str
    image: Path
    mask: Path | None
    label: int | None
    """Index into the classes."""
    split: str
    patient: str | None = None


@dataclass(frozen=True)
class RawData:
    """A raw data set in one of the known layouts."""

    kind: str
    """The layout, in words."""
    root: Path
    records: list[Record]
    label_files: list[Path]
    notes: list[str] = field(default_factory=list)
    """What a user should know: what was left out, and why."""


def join(sources: Sequence[RawData]) -> RawData:
    """Put several raw data sets together.

    Raises:
        UserError: two pictures have one id.
    """
    first = sources[0]
    if len(sources) == 1:
        return first
    records = [record for source in sources for record in source.records]
    check_records(records, first.root)
    return RawData(
        kind=" and ".join(source.kind for source in sources),
        root=first.root,
        records=records,
        label_files=[file for source in sources for file in source.label_files],
        notes=[note for source in sources for note in source.notes],
    )


def check_records(records: Sequence[Record], where: Path) -> None:
    """Raise a UserError unless there are pictures and their ids are unique and safe as file names."""
    if not records:
        raise UserError(f"{where}: no pictures found")
    seen: dict[str, Record] = {}
    for record in records:
        if _UNSAFE.search(record.id) or len(record.id) > 200:
            raise UserError(f"{record.image}: the id {record.id!r} cannot name a file; rename it")
        # Ids name files, and some file systems do not tell upper from lower case.
        earlier = seen.setdefault(record.id.casefold(), record)
        if earlier is not record:
            raise UserError(_clash(earlier, record))


def _clash(first: Record, second: Record) -> str:
    splits = f" in {first.split} and {second.split}" if first.split != second.split else ""
    return f"two pictures with the id {second.id}{splits}: {first.image} and {second.image}; remove or rename one"


def class_index(name: str, classes: Sequence[str], where: str) -> int:
    """Give the place of a class; case, spaces, hyphens and underscores do not matter.

    Raises:
        UserError: there is no such class.
    """
    wanted = plain_name(name)
    for index, known in enumerate(classes):
        if plain_name(known) == wanted:
            return index
    raise UserError(f"{where}: class {name!r} is not one of the configured classes: {', '.join(classes)}")
