"""The last layer of a classifier, whose rows go to classes by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.errors import UserError
from mbdcnn.system.tables import plain

CLASSES = "classes"
"""Key under which a weight file of ours names the classes of its last layer, as JSON."""
LAYER = ("head.weight", "head.bias")


@dataclass(frozen=True)
class Named:
    """Names of the classes of a last layer, in the order of its rows."""

    classes: tuple[str, ...]
    where: str
    """Who says so."""


@dataclass(frozen=True)
class HeadReport:
    """Where the rows of a network's last layer come from."""

    rows: Mapping[str, str | None]
    """For each class the class, or else the row, of the file that it was filled from; None where it was not."""
    unused: tuple[str, ...]
    """Classes of the file that the network does not have."""
    where: str
    """Who names the file's classes."""

    @property
    def whole(self) -> bool:
        """Whether every row was filled from the one of its class, and none was left out."""
        return not self.unused and all(given and plain(given) == plain(own) for own, given in self.rows.items())

    def summary(self) -> str:
        """Say it in one line."""
        taken = [own if own == given else f"{own} from {given}" for own, given in self.rows.items() if given]
        afresh = [own for own, given in self.rows.items() if not given]
        parts = [f"rows of the last layer by {self.where}: {', '.join(taken) or 'none'}"]
        parts += [f"as initialised: {', '.join(afresh)}"] if afresh else []
        parts += [f"left out: {', '.join(self.unused)}"] if self.unused else []
        return "; ".join(parts)


@dataclass(frozen=True)
class Placement:
    """Which row of a checkpoint's last layer each class of a network takes."""

    classes: tuple[str, ...]
    """The network's."""
    named: Named
    """The checkpoint's."""

    @property
    def places(self) -> list[int | None]:
        """Give the row for each class; None where the checkpoint does not have it."""
        found = {plain(name): place for place, name in enumerate(self.named.classes)}
        return [found.get(plain(name)) for name in self.classes]

    def check(self, tensor: Tensor) -> None:
        """Raise a UserError unless there are as many rows as names."""
        rows, names = len(tensor) if tensor.ndim else 0, len(self.named.classes)
        if rows != names:
            raise UserError(
                f"{rows} rows in the last layer, but {names} classes by {self.named.where}; give the weights that "
                "these classes are of"
            )

    def taken(self, tensor: Tensor) -> Tensor:
        """Give the rows in the network's order, any for classes that are not there."""
        return tensor[[place or 0 for place in self.places]]

    def completed(self, filled: Tensor, own: Tensor) -> Tensor:
        """Leave the rows of classes that are not there as the network has them."""
        for row, place in enumerate(self.places):
            if place is None:
                filled[row] = own[row]
        return filled

    def report(self, filled: bool) -> HeadReport:
        """Say which rows went where, if any did."""
        given = [None if place is None or not filled else self.named.classes[place] for place in self.places]
        unused = tuple(name for name in self.named.classes if name not in given)
        return HeadReport(dict(zip(self.classes, given, strict=True)), unused, self.named.where)


def by_place(classes: Sequence[str], filled: bool) -> HeadReport:
    """Report on a last layer whose classes nobody names."""
    rows = {name: f"row {place}" if filled else None for place, name in enumerate(classes, start=1)}
    return HeadReport(rows, (), "their places, for nobody names the classes of this file")


def fitting_rows(tensor: Tensor, own: Tensor, placement: Placement | None, *, ensemble: bool) -> Tensor:
    """Give the rows of a last layer that a network takes; what does not fit as it is.

    Args:
        tensor: weight or bias, of an ensemble for all members beside one another, divided by their number.
        own: that of the network, for a single classifier.
        placement: which rows go where; by place if not known.
        ensemble: whether it is of one; the first member is taken.
    """
    members = 1
    if ensemble and tensor.ndim == 2 and tensor.shape[1] % own.shape[1] == 0:
        members = tensor.shape[1] // own.shape[1]
    first = tensor[:, : own.shape[1]] if members > 1 else tensor
    if placement is not None and first.shape[1:] == own.shape[1:]:
        placement.check(tensor)
        first = placement.taken(first)
    if first.shape != own.shape:
        return tensor
    return first * members if members > 1 else first


def named_classes(file: Path) -> Named | None:
    """Find out what classes the last layer in a weight file is for, from the file or the run or bundle it lies in."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "np") as opened:
                names = json.loads((opened.metadata() or {}).get(CLASSES, "null"))
        except (SafetensorError, OSError, ValueError, RecursionError):
            names = None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return Named(tuple(names), f"the names in {file.name}")
    for kind in (Run, Bundle):
        if (file.parent / kind.filename).is_file():
            try:
                folder = kind.open(file.parent)
                # Or it was put there, and is of any classes.
                if folder.provenance.files.get(file.name) == file_digest(file):
                    return Named(folder.config.classes, f"the names in {file.parent}")
            except UserError:
                continue
    return None


def class_metadata(stage: str, classes: Sequence[str]) -> dict[str, str]:
    """Name the classes in the weight file of a classifier; nothing for other networks."""
    return {CLASSES: json.dumps(list(classes))} if stage == "classifier" else {}
