"""How far scores fall when images are corrupted, and answers move when all but the lesion changes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.manifest import Row
from mbdcnn.config import Data
from mbdcnn.evaluation.corruptions import CORRUPTIONS, Mask, RGBImage, corrupt
from mbdcnn.evaluation.counterfactuals import (
    BACKGROUND,
    MOST_LESION,
    STICKER,
    Change,
    add_sticker,
    exchange_background,
    summarise_changes,
)
from mbdcnn.evaluation.groups import columns_of, headline_statistics
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.results import ModelMethod
from mbdcnn.evaluation.scoring import resamples_of
from mbdcnn.inference.predictor import batches
from mbdcnn.inference.protocol import inputs_of_image, inputs_of_row, resize_mask
from mbdcnn.metrics.bootstrap import Counts, Statistic
from mbdcnn.metrics.masks import mask_metrics
from mbdcnn.system.progress import Progress

CLEAN = "clean"
LEVELS = (1, 2, 3)
SCORES = ("jaccard", "mean_auc", "calibration_error")


class _View(NamedTuple):
    """An image at the size at which it is corrupted."""

    image: RGBImage
    lesion: Mask | None
    """The true mask, where there is one."""


def conditions() -> list[tuple[str, int]]:
    """List clean images (level 0) and every corruption at each strength."""
    return [(CLEAN, 0), *((name, level) for name in CORRUPTIONS for level in LEVELS)]


def stress_test(
    method: ModelMethod, data: PreparedData, rows: Sequence[Row], samples: int, seed: int, progress: Progress
) -> dict[str, Any]:
    """Score one view of each image, clean and corrupted by every corruption.

    The image is the largest square that the data keep of it, given its own aspect again. Masks are scored at that
    size, so the clean scores differ a little from those of the report.

    Returns:
        `{images, clean: {score: estimate}, corruptions: [{name, unit, levels: [{strength, score: estimate,
        difference: {score: estimate}}]}], counterfactuals}`, scores being those of `SCORES`; a difference is corrupted
        less clean. The last are those of `summarise_changes`, of the images with a lesion in their mask.
    """
    # Each corrupted image is predicted once, whatever the protocol of the report.
    method = replace(method, protocol="fast")
    scores: dict[tuple[str, int], list[ImageScore]] = {condition: [] for condition in conditions()}
    settings = method.predictor.bundle.config.data
    changes: dict[str, list[Change]] = {STICKER: [], BACKGROUND: []}
    lenders = [row for row in rows if row.has_mask and data.truth(row).mean() <= MOST_LESION]
    for number, row in enumerate(rows, 1):
        view = _view(data, row, settings)
        for condition, score in _scores_of_row(method, row, view, settings):
            scores[condition].append(score)
        if view.lesion is not None and view.lesion.any():
            other = _lender(row, lenders)
            changed = _changed(row, view, None if other is None else _view(data, other, settings))
            inputs = [inputs_of_image(Image.fromarray(image), settings, "fast") for image in changed.values()]
            before = scores[CLEAN, 0][-1]
            for name, result in zip(changed, method.results_of(inputs) if inputs else (), strict=True):
                changes[name].append(Change(before, before._replace(probabilities=result.probabilities)))
        progress(number, len(rows))
    return {
        "images": len(rows),
        **_summary(scores, data.classes, samples, seed),
        "counterfactuals": summarise_changes(changes, data.classes, samples, seed),
    }


def prepared_image(data: PreparedData, row: Row, settings: Data) -> npt.NDArray[np.uint8]:
    """Give the largest square kept of an image, with the image's aspect and as many pixels."""
    scales = inputs_of_row(data, row, settings).scales
    side = max(scales)
    stretch = math.sqrt(row.width / row.height)
    size = (max(1, round(side * stretch)), max(1, round(side / stretch)))
    return np.asarray(Image.fromarray(np.asarray(scales[side])).resize(size, Image.Resampling.BICUBIC))


def _view(data: PreparedData, row: Row, settings: Data) -> _View:
    image = prepared_image(data, row, settings)
    return _View(image, resize_mask(data.truth(row), *image.shape[1::-1]) if row.has_mask else None)


def _lender(row: Row, lenders: Sequence[Row]) -> Row | None:
    """Choose the image that lends its skin, the same each time."""
    others = [other for other in lenders if other.id != row.id]
    return others[zlib.crc32(row.id.encode(errors="surrogateescape")) % len(others)] if others else None


def _changed(row: Row, view: _View, other: _View | None) -> dict[str, RGBImage]:
    """Give the image in each of the ways it can be changed."""
    assert view.lesion is not None
    stuck = add_sticker(view.image, view.lesion, row.id)
    changed = {} if stuck is None else {STICKER: stuck}
    if other is not None:
        assert other.lesion is not None
        changed[BACKGROUND] = exchange_background(view.image, view.lesion, other.image, other.lesion)
    return changed


def _scores_of_row(
    method: ModelMethod, row: Row, view: _View, settings: Data
) -> Iterator[tuple[tuple[str, int], ImageScore]]:
    image, truth = view
    height, width = image.shape[:2]
    for batch in batches(conditions()):
        corrupted = [
            (image, truth) if name == CLEAN else corrupt(image, truth, name, level, row.id) for name, level in batch
        ]
        inputs = [inputs_of_image(Image.fromarray(pixels), settings, "fast") for pixels, _ in corrupted]
        for condition, (_, moved), result in zip(batch, corrupted, method.results_of(inputs), strict=True):
            mask = None if moved is None or result.mask is None else mask_metrics(result.mask, moved)
            yield (
                condition,
                ImageScore(row.id, width, height, row.label, result.probabilities, mask, patient=row.patient),
            )


def _summary(
    scores: dict[tuple[str, int], list[ImageScore]], classes: Sequence[str], samples: int, seed: int
) -> dict[str, Any]:
    columns = {condition: columns_of(each) for condition, each in scores.items()}

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        clean = headline_statistics(columns[CLEAN, 0], classes, counts)
        values: dict[tuple[str, ...], Statistic] = {(CLEAN, name): value for name, value in clean.items()}
        for (name, level), of_condition in columns.items():
            for score, value in headline_statistics(of_condition, classes, counts).items():
                values[name, str(level), score] = value
                values[name, str(level), "difference", score] = value - clean[score]
        return values

    estimates = resamples_of(scores[CLEAN, 0], samples, seed).estimates(statistics)

    def level_of(name: str, level: int) -> dict[str, Any]:
        place = (name, str(level))
        return {
            "strength": CORRUPTIONS[name].strengths[level - 1],
            **{score: estimates.get((*place, score)) for score in SCORES},
            "difference": {score: estimates.get((*place, "difference", score)) for score in SCORES},
        }

    return {
        CLEAN: {score: estimates.get((CLEAN, score)) for score in SCORES},
        "corruptions": [
            {"name": name, "unit": corruption.unit, "levels": [level_of(name, level) for level in LEVELS]}
            for name, corruption in CORRUPTIONS.items()
        ],
    }
