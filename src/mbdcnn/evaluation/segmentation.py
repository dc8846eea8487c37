"""Scores of masks over many images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from mbdcnn.evaluation.image_score import OFFICIAL, ImageScore
from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Statistic
from mbdcnn.metrics.masks import MaskMetrics, official, thresholded_jaccard

MEANS = (
    "jaccard",
    "thresholded_jaccard",
    "dice",
    "accuracy",
    "sensitivity",
    "specificity",
    "boundary_distance",
    "boundary_distance_fraction",
    *(f"{name}_official" for name in (*OFFICIAL, "thresholded_jaccard")),
)
HISTOGRAM_BINS = 20

Columns: TypeAlias = Mapping[str, Float[np.ndarray, " n"]]
"""One value an image, by score; NaN where it is undefined."""


def mask_columns(scores: Sequence[ImageScore]) -> dict[str, Columns]:
    """Give the columns of each network that has a mask of any image."""
    networks = {"coarse": [score.coarse for score in scores], "enhanced": [score.enhanced for score in scores]}
    return {name: _columns(masks) for name, masks in networks.items() if any(masks)}


def mask_statistics(columns: Columns, counts: Counts) -> dict[str, Statistic]:
    """Average each score, and divide the sums over the pixels of all images."""
    means = {name: estimators.mean(counts, columns[name]) for name in MEANS}
    return {**means, "pooled_jaccard": estimators.ratio(counts, columns["overlap"], columns["union"])}


def jaccard_histogram(networks: Mapping[str, Columns]) -> dict[str, list[float] | list[int]]:
    """Count images by their Jaccard index."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    jaccards = {name: columns["jaccard"] for name, columns in networks.items()}
    heights = {name: np.histogram(values[~np.isnan(values)], edges)[0].tolist() for name, values in jaccards.items()}
    return {"edges": edges.round(10).tolist(), **heights}


def _columns(masks: Sequence[MaskMetrics | None]) -> dict[str, Float[np.ndarray, " n"]]:
    cells = [_cells(mask) if mask else {} for mask in masks]
    columns = {name: np.array([row.get(name, math.nan) for row in cells], float) for name in MEANS}
    return columns | {name: np.array([row.get(name, 0) for row in cells], float) for name in ("overlap", "union")}


def _cells(mask: MaskMetrics) -> dict[str, float]:
    values: Mapping[str, Any] = mask
    by_official = {f"{name}_official": official(values[name]) for name in OFFICIAL}
    return {
        **values,
        **by_official,
        "thresholded_jaccard": thresholded_jaccard(mask["jaccard"]),
        "thresholded_jaccard_official": thresholded_jaccard(by_official["jaccard_official"]),
        "overlap": mask["true_positives"],
        "union": mask["true_positives"] + mask["false_positives"] + mask["false_negatives"],
    }
