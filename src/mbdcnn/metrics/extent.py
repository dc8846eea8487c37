"""How far a lesion reaches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Diameter(NamedTuple):
    """The largest distance between two corners of a mask's pixels."""

    length: float
    ends: tuple[tuple[float, float], tuple[float, float]]
    """x and y of both corners in pixels; the image's upper left corner is 0, 0."""


def longest_diameter(mask: Bool[np.ndarray, "h w"], spacing: tuple[float, float] = (1.0, 1.0)) -> Diameter | None:
    """Measure a mask's longest diameter (Feret's); None where it is empty.

    Args:
        mask: the lesion.
        spacing: height and width of a pixel, in the unit of the length.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    found = mask[rows]
    left, right = found.argmax(axis=1), mask.shape[1] - found[:, ::-1].argmax(axis=1)
    levels = np.concatenate([rows, rows + 1])
    corners = np.concatenate([_chain(levels, np.tile(left, 2), -1), _chain(levels, np.tile(right, 2), 1)])
    places = corners * np.array(spacing)[::-1]
    apart = np.square(places[:, None] - places).sum(axis=2)
    first, last = (corners[index] for index in np.unravel_index(apart.argmax(), apart.shape))
    return Diameter(float(np.sqrt(apart.max())), ((float(first[0]), float(first[1])), (float(last[0]), float(last[1]))))


def _chain(levels: Int[np.ndarray, " n"], places: Int[np.ndarray, " n"], side: int) -> Float[np.ndarray, "m 2"]:
    """Give the corners, x and y, that a band laid round one side of the points touches, from the top down.

    Args:
        levels: y of the points.
        places: x of the points.
        side: 1 for the right one, -1 for the left one.
    """
    # Of each level only the outermost point, and of these those at which the outline turns inwards.
    order = np.lexsort((-side * places, levels))
    _, first = np.unique(levels[order], return_index=True)
    chain: list[tuple[float, float]] = []
    for x, y in zip(places[order][first].tolist(), levels[order][first].tolist(), strict=True):
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if side * ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return np.array(chain, dtype=np.float64)
