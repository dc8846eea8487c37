"""A coarse mask corrected by clicks and a box: regions are chosen, then the outline moves by a random walker.

The walker's prior comes from the start mask, the clicks and the colours inside and outside. A click says how far to
trust the start mask: it lies as deep in an error as it is far from the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.inference.prompts import Correction
from mbdcnn.inference.walker import Neighbours

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

GRID = 96
"""Side on which the outline moves; a correction takes 25 ms there."""
TRUST = 0.7
"""Log-odds of the start mask at a distance from its outline that is a click's depth."""
NETWORK = 0.5
"""Share of coarse-SN's own logits, where the start mask is its."""
NEAR, REACH = 3.0, 2.0
"""Log-odds at a click, and how many of its depths away they have fallen to a third."""
SEED = 0.5
"""Radius of the disc that is sure to be what a click says, in its depths."""
MOST = 4.0
"""Log-odds that start mask and logits give at most."""
COLOUR = 4.0
"""Log-odds that colours give at most."""
LEVELS, SPREAD, RARE = 32, 2.0, 1e-5
"""Of each channel in a histogram of colours; over how many of them a pixel counts; and the least frequency."""
ROUNDS = 3
"""Times that colours are learnt from the probabilities and these found anew."""
SHALLOWEST, DEEPEST = 0.75, 0.2
"""Depth of a click at least, in pixels of the grid, and at most, of its side."""
SLIGHT, LOCAL = 0.1, 3.0
"""Depth of a click, of the lesion's radius, below which it corrects a part of the outline, and that part in depths."""
MIDDLE = 0.6
"""Depth in a region, of its deepest point, from which a click beside the lesion means the whole region."""
LARGE = 0.2
"""Size, of the largest region's, from which others stay where no click is inside."""
NEARBY = 0.8
"""Distance from a click inside within which a region stays, in radii of a disc of its size."""
FITS = 0.7
"""Overlap (Jaccard) of a box and the box round a mask from which the mask is left as it is."""


class Click(NamedTuple):
    """A click on the grid."""

    row: int
    column: int
    inside: bool


def corrected_mask(pixels: npt.NDArray[np.uint8], correction: Correction, start: npt.NDArray[Any]) -> Bools:
    """Correct a coarse mask by the box and then by one click after the other.

    Args:
        pixels: the whole image at the networks' size, s s 3.
        correction: says where the clicks and the box are.
        start: the mask to correct, s s, or coarse-SN's logits, lesion minus background.

    Returns:
        The mask, s s. It is `start`, or what of it is above 0, where box and clicks agree with it.
    """
    whole = start if start.dtype == np.bool_ else start > 0
    side = min(GRID, len(pixels))
    colours = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX), np.float64) / 255
    logits = None if start.dtype == np.bool_ else _resized(start, side)
    scene = Scene.of(colours, logits, _box_mask(correction, side))
    before = _resized(whole, side) > 0.5
    mask = before if scene.box is None else _boxed(before, scene)
    clicks = _clicks(correction, side)
    for number in range(len(clicks)):
        mask = _clicked(mask, clicks, number, scene)
    return whole if np.array_equal(mask, before) else _resized(mask, len(whole)) > 0.5


@dataclass(frozen=True)
class Scene:
    """What does not change from click to click, all on the grid."""

    levels: npt.NDArray[np.int_]
    """Which place of a histogram each pixel's colour has, g g."""
    neighbours: Neighbours
    network: Floats
    """coarse-SN's say in the log-odds, g g; 0 where the mask is not its."""
    box: Bools | None

    @classmethod
    def of(cls, colours: Floats, logits: Floats | None, box: Bools | None) -> Scene:
        """Look at an image."""
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(colours, (1, 1, 0))
        network = np.zeros(colours.shape[:2]) if logits is None else NETWORK * logits.clip(-MOST, MOST)
        levels = (smooth * (LEVELS - 1)).round().astype(np.int_) @ np.array([LEVELS**2, LEVELS, 1])
        return cls(levels, Neighbours.of(smooth), network, box)


def _boxed(mask: Bools, scene: Scene) -> Bools:
    """Keep the regions that lie mostly in a box; where they do not fill it, find a lesion that does."""
    from scipy import ndimage

    box = scene.box
    assert box is not None
    regions, count = ndimage.label(mask)
    shares = ndimage.mean(box, regions, range(1, count + 1)) if count else []
    kept = np.isin(regions, [region for region, share in enumerate(shares, start=1) if share > 0.5]) & box
    if _fits(kept, box):
        return kept
    rows, columns = np.nonzero(box)
    # Whoever draws a box draws it round something: its middle counts as a click inside.
    middle = [Click(int(rows.mean()), int(columns.mean()), True)]
    depth = float(np.sqrt(np.count_nonzero(box)) / 4)
    return _near(ndimage.label(_moved(_ellipse(box), middle, depth, scene))[0], middle)


def _clicked(mask: Bools, clicks: Sequence[Click], number: int, scene: Scene) -> Bools:
    """Correct a mask by one click, so that it agrees with it and with those before; all choose among regions."""
    from scipy import ndimage

    row, column, inside = clicks[number]
    regions, count = ndimage.label(mask)
    if mask[row, column] and inside:
        return _near(regions, clicks)
    if mask[row, column] == inside:
        return mask
    if not inside and count > 1:
        depth = _depth(regions == regions[row, column])
        if depth[row, column] >= MIDDLE * depth.max():
            return np.asarray(mask & (regions != regions[row, column]))
    so_far, distance = clicks[: number + 1], float(abs(_signed_distance(mask)[row, column]))
    near = _near(regions, so_far)
    if inside and not near.any():
        # Far from all there is: the lesion is here instead.
        distance = min(distance, DEEPEST * len(mask)) / 2
        near = _disc(mask, clicks[number], distance)
    before = near if inside else mask
    moved = _near(ndimage.label(_moved(before, so_far, distance, scene))[0], clicks)
    if distance < SLIGHT * np.sqrt(np.count_nonzero(before) / np.pi):
        # A slight correction: what lies farther away stays.
        around = _disc(mask, clicks[number], LOCAL * max(distance, SHALLOWEST))
        moved = np.where(around, moved, before)
    return moved


def _moved(start: Bools, clicks: Sequence[Click], depth: float, scene: Scene) -> Bools:
    """Move the outline of a mask.

    Args:
        start: the mask.
        clicks: the last is the one that contradicts it.
        depth: how deep in an error that one is, in pixels.
        scene: the image.
    """
    from scipy import ndimage

    depth = min(max(depth, SHALLOWEST), DEEPEST * len(start))
    log_odds = np.clip(TRUST * _signed_distance(start) / depth, -MOST, MOST) + scene.network
    seeds = np.full(start.shape, np.nan)
    if scene.box is not None:
        seeds[~scene.box] = 0
    for number, click in enumerate(clicks, start=1):
        away = _away(start, click)
        last = number == len(clicks)
        if last:
            log_odds += (1 if click.inside else -1) * NEAR * np.exp(-np.square(away / (REACH * depth)))
        seeds[away <= (max(1, SEED * depth) if last else 1)] = click.inside
    lesion = _sigmoid(log_odds)
    for _ in range(ROUNDS):
        sure = np.where(np.isnan(seeds), lesion, seeds).clip(0, 1)
        inner, outer = (_log_likelihood(scene.levels, np.square(share)) for share in (sure, 1 - sure))
        by_colour = inner - outer
        lesion = scene.neighbours.walk(_sigmoid(log_odds + by_colour.clip(-COLOUR, COLOUR)), seeds)
    mask = lesion > 0.5
    filled = ndimage.binary_fill_holes(mask)
    beside = any(filled[click.row, click.column] and not click.inside for click in clicks)
    return np.asarray(mask if beside else filled)


def _near(regions: npt.NDArray[np.int32], clicks: Sequence[Click]) -> Bools:
    """Keep the regions that a click inside is in, or near for their size; all large ones where no click is inside."""
    from scipy import ndimage

    sizes = np.bincount(regions.ravel())[1:]
    if not len(sizes):
        return regions > 0
    elsewhere = np.ones(regions.shape, np.bool_)
    for click in clicks:
        if click.inside:
            elsewhere[click.row, click.column] = False
    if elsewhere.all():
        near = sizes >= LARGE * sizes.max()
    else:
        # Once for all regions: a mask may have thousands.
        away = ndimage.minimum(ndimage.distance_transform_edt(elsewhere), regions, np.arange(1, len(sizes) + 1))
        near = away <= NEARBY * np.sqrt(sizes / np.pi)
    return np.isin(regions, 1 + np.flatnonzero(near))


def _log_likelihood(levels: npt.NDArray[np.int_], weights: Floats) -> Floats:
    """Give the log of how frequent each pixel's colour is among pixels by their weights, from a smoothed histogram.

    Stickers, ink and dark corners beside skin make it no Gaussian.
    """
    from scipy import ndimage

    counts = np.bincount(levels.ravel(), weights.ravel(), LEVELS**3).reshape(LEVELS, LEVELS, LEVELS)
    shares = ndimage.gaussian_filter(counts, SPREAD, mode="constant") / (weights.sum() + 1e-9)
    frequency: Floats = np.log(shares.ravel()[levels] + RARE)
    return frequency


def _clicks(correction: Correction, side: int) -> list[Click]:
    """Give each click on a square of this side."""
    last, width, height = side - 1, correction.width, correction.height
    # The last number below the width may be rounded up to it.
    return [
        Click(min(last, int(y / height * side)), min(last, int(x / width * side)), inside)
        for x, y, inside in correction.points
    ]


def _box_mask(correction: Correction, side: int) -> Bools | None:
    """Give the box on a square of this side; at least one pixel of it."""
    if correction.box is None:
        return None
    left, right = (edge / correction.width * side for edge in (correction.box.left, correction.box.right))
    upper, lower = (edge / correction.height * side for edge in (correction.box.upper, correction.box.lower))
    mask = np.zeros((side, side), np.bool_)
    first, top = min(side - 1, int(left)), min(side - 1, int(upper))
    mask[top : max(round(lower), top + 1), first : max(round(right), first + 1)] = True
    return mask


def _fits(mask: Bools, box: Bools) -> bool:
    """Say whether a mask within a box reaches about as far as the box."""
    own = np.zeros_like(mask)
    if mask.any():
        rows, columns = np.nonzero(mask)
        own[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return bool(np.count_nonzero(own & box) >= FITS * np.count_nonzero(own | box))


def _ellipse(box: Bools) -> Bools:
    """Give the ellipse that touches a box's edges."""
    rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
    y, x = np.ogrid[: box.shape[0], : box.shape[1]]
    down = (y - rows.mean()) / (len(rows) / 2)
    across = (x - columns.mean()) / (len(columns) / 2)
    ellipse: Bools = np.square(down) + np.square(across) <= 1
    return ellipse


def _away(mask: Bools, click: Click) -> Floats:
    """Give each pixel's distance to a click, of the size of a mask."""
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    away: Floats = np.hypot(rows - click.row, columns - click.column)
    return away


def _disc(mask: Bools, click: Click, radius: float) -> Bools:
    """Give a disc round a click, of the size of a mask."""
    return _away(mask, click) <= radius


def _depth(region: Bools) -> Floats:
    """Give each pixel's distance to the outside of a region, beyond the frame too."""
    from scipy import ndimage

    depth: Floats = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return depth


def _signed_distance(mask: Bools) -> Floats:
    """Give each pixel's distance to the outline, positive inside; at most the grid's side."""
    from scipy import ndimage

    side = float(max(mask.shape))
    inside = ndimage.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, side)
    outside = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, side)
    signed: Floats = np.where(mask, inside - 0.5, 0.5 - outside)
    return signed


def _resized(values: npt.NDArray[Any], side: int) -> Floats:
    """Resize a square, by areas where it shrinks and linearly where it grows."""
    way = Image.Resampling.BOX if side < len(values) else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), way), np.float64)


def _sigmoid(values: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-values))
    return probability
