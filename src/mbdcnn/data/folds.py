"""Division of training images into folds."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

from mbdcnn.manifest import Row


def fold_of(rows: Sequence[Row], folds: int) -> dict[str, int]:
    """Give each image its fold, by id: folds of equal size and class mix, a patient's images in one of them.

    The division depends on nothing but the images: not on their order.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"patient {row.patient}" if row.patient else f"image {row.id}", []).append(row)
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
