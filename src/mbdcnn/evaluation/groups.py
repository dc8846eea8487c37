"""Scores by group: diagnosis, lesion size, resolution, image source, skin tone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from mbdcnn.evaluation.classification import Decisions, labelled, overall_statistics
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.segmentation import mask_columns
from mbdcnn.evaluation.skin import CLASSES as SKIN_TONES
from mbdcnn.evaluation.skin import tone_class
from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Estimate, Resamples, Statistic

UNKNOWN = "not known"
SIZES = ((0.1, "under 10 % of the image"), (0.3, "10 to 30 %"), (1.01, "30 % and more"))
RESOLUTIONS = ((1024, "longer side up to 1024 px"), (2048, "1025 to 2048 px"), (4096, "2049 to 4096 px"))
LARGEST = "over 4096 px"
MOST_SOURCES = 12

Naming: TypeAlias = Callable[[ImageScore], str]


def group_scores(scores: Sequence[ImageScore], classes: Sequence[str], resamples: Resamples) -> list[dict[str, Any]]:
    """Score every group of every grouping, the smallest too, each with its intervals.

    Groups are parts of the same resamples, so how many of a group are drawn varies as it would with other images.
    """
    groupings = {name: _members(scores, naming, order) for name, (naming, order) in _groupings(scores, classes).items()}
    columns = {
        (grouping, group): columns_of([score for score, member in zip(scores, inside, strict=True) if member])
        for grouping, groups in groupings.items()
        for group, inside in groups.items()
    }

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        return {
            (grouping, group, metric): value
            for (grouping, group), of_group in columns.items()
            for metric, value in headline_statistics(of_group, classes, counts[:, groupings[grouping][group]]).items()
        }

    estimates = resamples.estimates(statistics)
    return [
        {
            "name": grouping,
            "groups": [
                {
                    "name": group,
                    "images": int(inside.sum()),
                    **{
                        metric: _of_many(estimates.get((grouping, group, metric)), int(inside.sum()))
                        for metric in ("jaccard", "mean_auc", "accuracy")
                    },
                }
                for group, inside in groups.items()
            ],
        }
        for grouping, groups in groupings.items()
    ]


def _of_many(estimate: Estimate | None, images: int) -> Estimate | None:
    """Leave out the interval of a single image: redrawing it gives nothing but itself."""
    return Estimate(value=estimate["value"], low=None, high=None) if estimate and images == 1 else estimate


def columns_of(members: Sequence[ImageScore]) -> tuple[Float[np.ndarray, " n"] | None, Decisions | None]:
    """Give the Jaccard index of the final mask, else of the coarse one, and the decisions; None without any."""
    networks = mask_columns(members)
    best = networks.get("enhanced", networks.get("coarse"))
    return None if best is None else best["jaccard"], labelled(members)


def headline_statistics(
    columns: tuple[Float[np.ndarray, " n"] | None, Decisions | None], classes: Sequence[str], counts: Counts
) -> dict[str, Statistic]:
    """Score what `columns_of` gave in each resample: `jaccard`, and all of `overall_statistics`."""
    jaccards, decisions = columns
    values = {} if jaccards is None else {"jaccard": estimators.mean(counts, jaccards)}
    return values if decisions is None else values | overall_statistics(decisions, classes, counts)


def _groupings(scores: Sequence[ImageScore], classes: Sequence[str]) -> dict[str, tuple[Naming, list[str]]]:
    """Give for each grouping how an image's group is named and the order of the groups."""
    sources = _source_names(scores)
    return {
        "diagnosis": (lambda score: UNKNOWN if score.label is None else classes[score.label], list(classes)),
        "lesion size": (_size, [name for _, name in SIZES]),
        "resolution": (_resolution, [*(name for _, name in RESOLUTIONS), LARGEST]),
        "image source": (lambda score: sources[score.source], sorted(set(sources.values()))),
        "skin tone": (lambda score: tone_class(score.skin_tone) or UNKNOWN, [name for _, name in SKIN_TONES]),
    }


def _members(scores: Sequence[ImageScore], naming: Naming, order: Sequence[str]) -> dict[str, Bool[np.ndarray, " n"]]:
    names = np.array([naming(score) for score in scores], dtype=object)
    return {name: names == name for name in dict.fromkeys((*order, UNKNOWN)) if (names == name).any()}


def _size(score: ImageScore) -> str:
    if score.lesion_fraction is None:
        return UNKNOWN
    return next(name for limit, name in SIZES if score.lesion_fraction < limit)


def _resolution(score: ImageScore) -> str:
    longer = max(score.width, score.height)
    return next((name for limit, name in RESOLUTIONS if longer <= limit), LARGEST)


def _source_names(scores: Sequence[ImageScore]) -> dict[str, str]:
    """Name folders of images by their last part, or by one further up where a folder holds few images."""
    folders = {score.source: PurePath(score.source) for score in scores}
    while len(set(folders.values())) > MOST_SOURCES and any(len(path.parts) > 1 for path in folders.values()):
        folders = {source: path.parent if len(path.parts) > 1 else path for source, path in folders.items()}
    distinct = set(folders.values())
    # As many last parts as it takes to tell the folders apart.
    parts = 1
    while len({_last(path, parts) for path in distinct}) < len(distinct):
        parts += 1
    return {source: _last(path, parts) if source else UNKNOWN for source, path in folders.items()}


def _last(path: PurePath, parts: int) -> str:
    return "/".join(path.parts[-parts:]) or str(path)
