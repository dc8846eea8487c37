"""Division of training images into folds."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from mbdcnn.artifacts import Row


def fold_of(rows: Sequence[Row], folds: int) -> dict[str, int]:
    """Give each image its fold, by id: folds of equal size and class mix, a patient's images in one of them.

    The division depends on nothing but the images.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"patient {row.patient}" if row.patient else f"image {row.id}", []).append(row)

    def shuffled_by_label(name: str) -> tuple[int, int, str]:
        label = groups[name][0].label
        return (-1 if label is None else label, zlib.crc32(name.encode()), name)

    order = sorted(groups, key=shuffled_by_label)
    return {row.id: place % folds for place, name in enumerate(order) for row in groups[name]}
