"""What a raw folder says about each image, and the checks that hold for every layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mbdcnn.errors import UserError
from mbdcnn.system.tables import folded, number, plain
from mbdcnn.system.yaml import option

TABLE = "a table"
"""What the layout of a user's own table is called."""
EXAMPLE = "nevus:0.4|melanoma:0.6"
# What no common file system takes in a name, bytes that are not UTF-8, and names that mean a folder.
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\ud800-\udfff]|^\.*$|[. ]$|^ ')


@dataclass(frozen=True)
class Record:
    """One image as found."""

    id: str
    image: Path
    mask: Path | None
    label: int | None
    """Index into the classes."""
    split: str
    patient: str | None = None
    shares: tuple[float, ...] | None = None
    """How likely each class is, where the label is not certain; they sum to 1."""
    weight: float = 1.0
    """How often it is drawn in training beside an image of weight 1."""
    source: str = ""
    """The collection it comes from."""
    aspect: float | None = None
    """Width over height before the image was squashed, if it was."""


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

    @property
    def name(self) -> str:
        """Name of the folder, or of the only table in it that it was read from."""
        return self.label_files[0].stem if self.kind == TABLE else self.root.resolve().name


def join(sources: Sequence[RawData]) -> RawData:
    """Put several raw data sets together; images that name no source are given the name of their folder or table.

    One alone may be called anything, so that a copy of it is the same data.

    Raises:
        UserError: two images have one id.
    """
    first = sources[0]
    if len(sources) == 1:
        return first
    spelling: dict[str, str] = {}
    records = [
        replace(
            each,
            source=each.source or source.name,
            patient=each.patient and spelling.setdefault(folded(each.patient), each.patient),
        )
        for source in sources
        for each in source.records
    ]
    check_records(records, first.root)
    return RawData(
        kind=" and ".join(source.kind for source in sources),
        root=first.root,
        records=records,
        label_files=[file for source in sources for file in source.label_files],
        notes=[note for source in sources for note in source.notes],
    )


def check_records(records: Sequence[Record], where: Path) -> None:
    """Raise a UserError unless there are images and their ids are unique and safe as file names."""
    if not records:
        raise UserError(f"{where}: no images found")
    seen: dict[str, Record] = {}
    for record in records:
        if _UNSAFE.search(record.id) or len(record.id) > 200:
            raise UserError(f"{record.image}: the id {record.id!r} cannot name a file; rename it")
        # Ids name files, and some file systems do not tell upper from lower case.
        earlier = seen.setdefault(folded(record.id), record)
        if earlier is not record:
            raise UserError(_clash(earlier, record))


def _clash(first: Record, second: Record) -> str:
    splits = f" in {first.split} and {second.split}" if first.split != second.split else ""
    return f"two images with the id {second.id}{splits}: {first.image} and {second.image}; remove or rename one"


def class_index(name: str, classes: Sequence[str], where: str) -> int:
    """Give the place of a class; case, spaces, hyphens and underscores do not matter.

    Raises:
        UserError: there is no such class.
    """
    wanted = plain(name)
    for index, known in enumerate(classes):
        if plain(known) == wanted:
            return index
    raise UserError(
        f"{where}: class {name!r} is not one of the configured classes: {', '.join(classes)}; correct it, or add it: "
        f"{option('classes', [*classes, name])}"
    )


def class_shares(text: str, classes: Sequence[str], where: str) -> tuple[float, ...]:
    """Read an uncertain label such as `nevus:0.4|seborrheic_keratosis:0.6`: the share of each class, summing to 1.

    Raises:
        UserError: a class is unknown or named twice, or the shares are no numbers above 0 that sum to 1.
    """
    shares = [0.0] * len(classes)
    for part in text.split("|"):
        name, _, cell = part.partition(":")
        index = class_index(name, classes, where)
        share = number(cell) or -1.0
        if not 0 < share <= 1 or shares[index]:
            raise UserError(f"{where}: label {text!r}; expected each class once with its share, such as {EXAMPLE}")
        shares[index] = share
    if abs(sum(shares) - 1) > 0.01:
        raise UserError(f"{where}: label {text!r}: the shares sum to {sum(shares):g} instead of 1; correct them")
    return tuple(share / sum(shares) for share in shares)
