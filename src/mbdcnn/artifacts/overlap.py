"""Images that belong together, by patient, lesion or pixels, and whether a split or fold tears them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from mbdcnn.artifacts.manifest import SPLITS, Row
from mbdcnn.artifacts.seen import OFFICIAL_TWINS
from mbdcnn.errors import UserError


def connected(keys: Iterable[Sequence[Hashable]]) -> list[Hashable]:
    """Give things that share a key, directly or by way of others, one name each group: one of its keys.

    Args:
        keys: of each thing, at least one.
    """
    keys = list(keys)
    above: dict[Hashable, Hashable] = {}

    def top(key: Hashable) -> Hashable:
        while above.setdefault(key, key) != key:
            above[key] = key = above[above[key]]
        return key

    for first, *others in keys:
        for other in others:
            above[top(other)] = top(first)
    return [top(first) for first, *_ in keys]


def torn_groups(rows: Iterable[Row]) -> list[str]:
    """Name the patients or lesions with images in more than one split, with the counts of each split."""
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.patient:
            splits[row.patient][row.split] += 1
    return [
        f"{name} ({', '.join(f'{split} {counts[split]}' for split in SPLITS if counts[split])})"
        for name, counts in splits.items()
        if len(counts) > 1
    ]


def identical(rows: Iterable[Row]) -> list[list[Row]]:
    """Give the groups of images whose pixels are equal."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.pixels].append(row)
    return [group for group in groups.values() if len(group) > 1]


def torn_images(rows: Iterable[Row]) -> list[str]:
    """Name the images that are in more than one split, under whatever ids."""
    return [
        " = ".join(f"{row.id} ({row.split})" for row in group)
        for group in identical(rows)
        if len({row.split for row in group}) > 1
    ]


def check_apart(rows: Sequence[Row], where: str) -> None:
    """Raise a UserError if a patient, lesion or image lies on both sides of a split."""
    groups, images = torn_groups(rows), torn_images(row for row in rows if row.id not in OFFICIAL_TWINS)
    faults = [f"{len(groups)} patients or lesions, such as {groups[0]}"] if groups else []
    faults += [f"{len(images)} images with equal pixels, such as {images[0]}"] if images else []
    if faults:
        raise UserError(
            f"{where}: {' and '.join(faults)}, lie in more than one split, so scores would say little about new "
            "patients; put all images of each into one split, or run with --allow-overlap to continue all the same"
        )
