"""Scores of one mask. NumPy in, plain numbers out."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Int

BORDER_PIXELS = 50_000
"""Of a longer border every n-th pixel is measured; a smooth outline in 30 million pixels has about 15 000."""


class MaskMetrics(TypedDict):
    """One predicted mask against the truth. NaN where a ratio is 0/0, as the authors' code has it."""

    jaccard: float
    dice: float
    accuracy: float
    sensitivity: float
    specificity: float
    boundary_distance: float
    """Pixels."""
    boundary_distance_fraction: float
    """Of the image's diagonal."""
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def mask_metrics(prediction: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> MaskMetrics:
    """Score one mask, pixel by pixel."""
    distance = boundary_distance(prediction, truth)
    true_positives = int(np.count_nonzero(prediction & truth))
    false_positives = int(np.count_nonzero(prediction)) - true_positives
    false_negatives = int(np.count_nonzero(truth)) - true_positives
    true_negatives = truth.size - true_positives - false_positives - false_negatives
    return MaskMetrics(
        jaccard=_ratio(true_positives, true_positives + false_positives + false_negatives),
        dice=_ratio(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
        accuracy=_ratio(true_positives + true_negatives, truth.size),
        sensitivity=_ratio(true_positives, true_positives + false_negatives),
        specificity=_ratio(true_negatives, true_negatives + false_positives),
        boundary_distance=distance,
        boundary_distance_fraction=distance / math.hypot(*truth.shape),
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        true_negatives=true_negatives,
    )


def thresholded_jaccard(jaccard: float, threshold: float = 0.65) -> float:
    """Count a mask below the threshold as a failure, 0; the rule of the ISIC-2018 challenge. NaN stays NaN."""
    return 0.0 if jaccard < threshold else jaccard


def official(value: float) -> float:
    """Count 0/0 as a perfect 1 instead of leaving it out, as `isic-challenge-scoring` does."""
    return 1.0 if math.isnan(value) else value


def boundary_distance(
    prediction: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], percentile: float = 95
) -> float:
    """Measure in pixels how far two outlines lie apart: the 95 % Hausdorff distance.

    Each border pixel of one mask has a distance to the nearest border pixel of the other; the result is the larger of
    the two masks' percentiles. A mask's border has background beside it, or lies at the frame. NaN where both masks are
    empty, the image's diagonal where one is.
    """
    from scipy.spatial import KDTree

    # A search among border pixels costs little even where the image has 30 million pixels, unlike a distance map.
    borders = [_border_pixels(mask) for mask in (prediction, truth)]
    if not all(map(len, borders)):
        return math.hypot(*truth.shape) if any(map(len, borders)) else math.nan
    trees = [KDTree(border, compact_nodes=False, balanced_tree=False) for border in borders]
    asked = [border[:: 1 + len(border) // BORDER_PIXELS] for border in borders]
    distances = [tree.query(pixels)[0] for tree, pixels in zip(trees, asked[::-1], strict=True)]
    return float(max(np.percentile(of_one, percentile) for of_one in distances))


def _border_pixels(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "n 2"]:
    """List rows and columns of a mask's pixels that have background above, below, left or right."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty((0, 2), np.int64)
    border = border_of(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    places: Int[np.ndarray, "n 2"] = np.argwhere(border) + np.array([rows[0], columns[0]])
    return places


def border_of(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Find a mask's pixels with background above, below, left or right; beyond the frame is background."""
    framed = np.pad(mask, 1)
    inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    border: Bool[np.ndarray, "h w"] = mask & ~inside
    return border


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
