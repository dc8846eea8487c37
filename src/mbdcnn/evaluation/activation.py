"""Whether the classifier looks at the lesion: its activation map against the true mask.

The mask is brought to the map's grid, not the map to the mask's: nothing is interpolated, and a cell that is half
lesion counts half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Resamples, Statistic

CELL = 16
"""Pixels to a side of one cell of the map, where the mask is drawn as finely as the networks see."""

SHARES = ("cam_energy_inside", "lesion_share", "near_share")
HITS = ("cam_pointing_game", "cam_pointing_game_near")

Shares: TypeAlias = Float[np.ndarray, "h w"]


class Focus(NamedTuple):
    """Where the map of the predicted class, clipped at 0, lies in one image that has a lesion."""

    cam_energy_inside: float
    """Share of the map's sum that is inside the true lesion; 0 for a map without a positive value."""
    cam_pointing_game: bool
    """Whether the middle of the map's highest cell is inside; False for a map without a positive value."""
    cam_pointing_game_near: bool
    """The same within the side of one cell round the lesion."""
    positive: bool
    """Whether the map has a positive value."""
    lesion_share: float
    """Share of the image that is lesion: what an even map has inside, and how often a random peak is."""
    near_share: float
    """Share of the cells that are near enough: how often a random peak is."""


def focus(activation_map: Float[np.ndarray, "h w"], lesion: Bool[np.ndarray, "hh ww"]) -> Focus | None:
    """Measure one map against the true lesion in the same image; None where there is no lesion."""
    if not lesion.any():
        return None
    share, near = _lesion_by_cell(lesion, *activation_map.shape)
    weight = activation_map.clip(0)
    peak = np.unravel_index(weight.argmax(), weight.shape)
    middle = tuple(int((at + 0.5) * of / cells) for at, of, cells in zip(peak, lesion.shape, weight.shape, strict=True))
    total, positive = float(weight.sum()), bool(weight.max() > 0)
    return Focus(
        cam_energy_inside=float((weight * share).sum()) / total if positive else 0.0,
        cam_pointing_game=positive and bool(lesion[middle]),
        cam_pointing_game_near=positive and bool(near[peak]),
        positive=positive,
        lesion_share=float(share.mean()),
        near_share=float(near.mean()),
    )


def summarise_focus(found: Sequence[Focus | None], resamples: Resamples) -> dict[str, Any] | None:
    """Average over the images that have a lesion and a map; None if there is none.

    Returns:
        `{images, without_positive_values, SCORE: {mean: estimate, median: estimate}}`, of `HITS` the mean alone.
    """
    present = [each for each in found if each is not None]
    if not present:
        return None
    columns = {
        name: np.array([math.nan if each is None else getattr(each, name) for each in found], float)
        for name in (*SHARES, *HITS)
    }

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        return {
            **{(name, "mean"): estimators.mean(counts, values) for name, values in columns.items()},
            **{(name, "median"): estimators.median(counts, columns[name]) for name in SHARES},
        }

    estimates = resamples.estimates(statistics)
    return {
        "images": len(present),
        "without_positive_values": sum(not each.positive for each in present),
        **{name: {"mean": estimates[name, "mean"], "median": estimates[name, "median"]} for name in SHARES},
        **{name: {"mean": estimates[name, "mean"]} for name in HITS},
    }


def _lesion_by_cell(
    lesion: Bool[np.ndarray, "hh ww"], height: int, width: int
) -> tuple[Shares, Bool[np.ndarray, "h w"]]:
    """Give the share of each cell that is lesion, and which cells' middles are within a cell's side of it."""
    image = Image.fromarray(lesion.astype(np.uint8) * 255)
    fine = np.asarray(image.resize((CELL * width, CELL * height), Image.Resampling.BOX))
    share: Shares = fine.reshape(height, CELL, width, CELL).mean(axis=(1, 3)) / 255
    offsets = np.arange(2 * CELL) - (CELL - 0.5)
    disc = np.hypot(offsets[:, None], offsets) <= CELL
    windows = sliding_window_view(np.pad(fine > 0, CELL // 2), disc.shape)[::CELL, ::CELL]
    near: Bool[np.ndarray, "h w"] = (windows & disc).any(axis=(2, 3))
    return share, near
