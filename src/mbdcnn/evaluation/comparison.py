"""Two methods on the same images: paired bootstrap of the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mbdcnn.evaluation.classification import Decisions, labelled, overall_statistics
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.scoring import nested, resamples_of
from mbdcnn.evaluation.segmentation import Columns, mask_columns, mask_statistics
from mbdcnn.metrics.bootstrap import Counts, Statistic

MASK_SCORES = ("jaccard", "thresholded_jaccard", "pooled_jaccard", "dice", "boundary_distance")


def compare(
    first: Sequence[ImageScore], second: Sequence[ImageScore], classes: Sequence[str], samples: int, seed: int
) -> dict[str, Any]:
    """Score both and the difference, second less first, on the same resamples.

    Returns:
        `{first, second, difference}`, each `{score: estimate}`; scores that only one of them has are left out.
        `images_better` and `images_worse` count where the second's final mask has the higher or lower Jaccard.
    """
    columns = [(mask_columns(scores), labelled(scores)) for scores in (first, second)]

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        one, other = (_statistics(*of_one, classes, counts) for of_one in columns)
        shared = [name for name in one if name in other]
        return {
            **{("first", name): one[name] for name in shared},
            **{("second", name): other[name] for name in shared},
            **{("difference", name): other[name] - one[name] for name in shared},
        }

    estimates = resamples_of(first, samples, seed).estimates(statistics)
    gains = np.array(
        [
            b.enhanced["jaccard"] - a.enhanced["jaccard"]
            for a, b in zip(first, second, strict=True)
            if a.enhanced and b.enhanced
        ]
    )
    return {
        **{"first": {}, "second": {}, "difference": {}},
        **nested(estimates),
        "images_better": int((gains > 0).sum()),
        "images_worse": int((gains < 0).sum()),
    }


def _statistics(
    networks: Mapping[str, Columns], decisions: Decisions | None, classes: Sequence[str], counts: Counts
) -> dict[str, Statistic]:
    values: dict[str, Statistic] = {}
    for network, columns in networks.items():
        of_network = mask_statistics(columns, counts)
        values |= {f"{network}_{name}": of_network[name] for name in MASK_SCORES}
    if decisions is not None:
        values |= overall_statistics(decisions, classes, counts)
    return values
