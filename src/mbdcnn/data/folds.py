"""Division of training images into folds."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Self

from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.overlap import connected
from mbdcnn.errors import UserError


class Fold(NamedTuple):
    """One of several folds: the part of the training images that a network does not see."""

    number: int
    """Counted from 0."""
    of: int
    """How many there are."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a fold such as `0/5`, the first of five.

        Raises:
            UserError: it is no such fold.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(of) > 1 and int(number) < int(of)):
            raise UserError(f"fold {text}: expected NUMBER/FOLDS, counted from 0: 0/5 to 4/5 for five folds")
        return cls(int(number), int(of))

    def split(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Divide training images into those of the other folds and those of this one."""
        fold = fold_of(rows, self.of)
        inside = [fold[row.id] == self.number for row in rows]
        return (
            [row for row, is_in in zip(rows, inside, strict=True) if not is_in],
            [row for row, is_in in zip(rows, inside, strict=True) if is_in],
        )


def fold_of(rows: Sequence[Row], folds: int) -> dict[str, int]:
    """Give each image its fold, by id: folds of equal size and class mix.

    A patient's images lie in one of them, as do images whose pixels are equal. The division depends on nothing but the
    images: not on their order.
    """
    names = [f"patient {row.patient}" if row.patient else f"image {row.id}" for row in rows]
    together = connected(
        [(name, ("pixels", row.pixels)) if row.pixels else (name,) for name, row in zip(names, rows, strict=True)]
    )
    first: dict[Hashable, str] = {}
    for name, group in sorted(zip(names, together, strict=True), key=lambda pair: pair[0]):
        first.setdefault(group, name)
    groups: dict[str, list[Row]] = {}
    for row, group in zip(rows, together, strict=True):
        groups.setdefault(first[group], []).append(row)
    # A patient counts as a case of the rarest class there is among the images, which comes last.
    label = {name: max(-1 if row.label is None else row.label for row in group) for name, group in groups.items()}

    def shuffled_by_label(name: str) -> tuple[int, int, int, str]:
        return label[name], -len(groups[name]), zlib.crc32(name.encode()), name

    of_label: Counter[tuple[int, int]] = Counter()
    sizes: Counter[int] = Counter()
    chosen: dict[str, int] = {}
    for name in sorted(groups, key=shuffled_by_label):
        fold = min(range(folds), key=lambda fold: (of_label[label[name], fold], sizes[fold], fold))
        of_label[label[name], fold] += len(groups[name])
        sizes[fold] += len(groups[name])
        chosen |= {row.id: fold for row in groups[name]}
    return chosen
