"""Views of an image at test time, each with its inverse, and the way back to the image's own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class View(NamedTuple):
    """A symmetry of the square, acting on the two axes it is given."""

    apply: Callable[[Array, tuple[int, int]], Array]
    invert: Callable[[Array, tuple[int, int]], Array]


def _rotation(quarters: int) -> View:
    return View(
        lambda array, axes: np.rot90(array, quarters, axes),
        lambda array, axes: np.rot90(array, -quarters, axes),
    )


def _flip(axis: int) -> View:
    def flip(array: Array, axes: tuple[int, int]) -> Array:
        return np.flip(array, axes[axis])

    return View(flip, flip)


SIX_VIEWS = (*map(_rotation, range(4)), _flip(1), _flip(0))
"""Identity, rotations by 90, 180 and 270 degrees, horizontal and vertical flip."""

PIXELS = (1, 2)
"""Height and width of images n h w c."""
MAPS = (2, 3)
"""Height and width of logits and maps n c h w."""
ROWS = 64
"""Resampled at a time, so that they stay in the cache."""


def all_views(images: Array) -> Array:
    """Stack the six views of each of n images, n h w c with h = w: 6n h w c, all images of a view together."""
    return np.concatenate([view.apply(images, PIXELS) for view in SIX_VIEWS])


def merge_views(logits: Array) -> Array:
    """Turn the logits of `all_views` back and add them up: 6n c h w to n c h w."""
    parts = np.split(logits, len(SIX_VIEWS))
    turned = [view.invert(part, MAPS) for view, part in zip(SIX_VIEWS, parts, strict=True)]
    total: Array = np.sum(turned, axis=0)
    return total


def enlarge(maps: Array, height: int, width: int) -> Array:
    """Resize maps, ... h w, by bicubic interpolation with corners not aligned (a = -0.75, as PyTorch has it).

    Four rows are added up for each new one. The product with a matrix would be as fast, but BLAS spreads it over
    threads that then wait in a loop, on the cores that the networks need: half as many images a second.
    """
    return _resample(_resample(maps.swapaxes(-1, -2), width).swapaxes(-1, -2), height)


def _resample(maps: Array, height: int) -> Array:
    """Resize ... h w in height."""
    # Taking rows of a transposed array would copy all of it each time.
    maps = np.ascontiguousarray(maps)
    places, weights = bicubic_taps(maps.shape[-2], height)
    weights = weights[..., None].astype(maps.dtype)
    resized = np.empty((*maps.shape[:-2], height, maps.shape[-1]), maps.dtype)
    for start in range(0, height, ROWS):
        rows = slice(start, start + ROWS)
        total = np.take(maps, places[0, rows], axis=-2) * weights[0, rows]
        for place, weight in zip(places[1:, rows], weights[1:, rows], strict=True):
            part = np.take(maps, place, axis=-2)
            part *= weight
            total += part
        resized[..., rows, :] = total
    return resized


def bicubic_taps(source: int, target: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.float64]]:
    """Give which four places of an axis each new one is made of, and their weights, both 4 x target.

    The border's values go on outside.
    """
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    places = np.floor(centres).astype(int) + np.arange(-1, 3)[:, None]
    return np.clip(places, 0, source - 1), _cubic(np.abs(centres - places))


def _cubic(distance: npt.NDArray[np.float64], a: float = -0.75) -> npt.NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
