"""From one row an image to the summary that is saved and reported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.errors import UserError
from mbdcnn.evaluation.activation import summarise_focus
from mbdcnn.evaluation.classification import class_statistics, curves, labelled, operating_points
from mbdcnn.evaluation.groups import group_scores
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.segmentation import jaccard_histogram, mask_columns, mask_statistics
from mbdcnn.metrics.bootstrap import Counts, Estimate, Resamples, Statistic


def summarise(
    scores: Sequence[ImageScore],
    classes: Sequence[str],
    samples: int = 1000,
    seed: int = 0,
    thresholds: Sequence[OperatingPoint] = (),
) -> dict[str, Any]:
    """Reduce the rows to means, areas and their 95 % intervals.

    Images are resampled by patient where patients are known. Every estimate is `{value, low, high}`, or None
    where it is undefined; `segmentation`, `classification` and `activation_maps` are None without what they need.

    Args:
        scores: one row an image.
        classes: names in the order of the probabilities; the first is the benign rest.
        samples: bootstrap resamples; 0 for no intervals.
        seed: of the resamples.
        thresholds: operating points of the model.

    Raises:
        UserError: there is no row.
    """
    if not scores:
        raise UserError("nothing to evaluate: no image has both a prediction and a truth")
    resamples = resamples_of(scores, samples, seed)
    labels = [score.label for score in scores]
    return {
        "images": {
            "total": len(scores),
            "with_mask": sum(score.enhanced is not None for score in scores),
            "with_label": sum(label is not None for label in labels),
            "per_class": {name: labels.count(index) for index, name in enumerate(classes)},
        },
        "bootstrap": {
            "samples": samples,
            "seed": seed,
            "unit": "patient" if any(score.patient for score in scores) else "image",
        },
        "segmentation": _segmentation(scores, resamples),
        "classification": _classification(scores, classes, resamples, thresholds),
        "activation_maps": summarise_focus([score.focus for score in scores], resamples),
        "groups": group_scores(scores, classes, resamples),
    }


def resamples_of(scores: Sequence[ImageScore], samples: int, seed: int) -> Resamples:
    """Resample images, by patient where patients are known."""
    groups = [score.patient or ("image", number) for number, score in enumerate(scores)]
    return Resamples(len(scores), samples, seed, groups)


def to_json(summary: Mapping[str, Any]) -> str:
    """Write a summary as JSON; a NaN that slipped in is an error, not a `NaN` no other tool can read."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def nested(estimates: Mapping[tuple[str, ...], Estimate | None]) -> dict[str, Any]:
    """Turn names of several words into places in nested dictionaries."""
    tree: dict[str, Any] = {}
    for name, value in estimates.items():
        branch = tree
        for word in name[:-1]:
            branch = branch.setdefault(word, {})
        branch[name[-1]] = value
    return tree


def _segmentation(scores: Sequence[ImageScore], resamples: Resamples) -> dict[str, Any] | None:
    networks = mask_columns(scores)
    if not networks:
        return None

    def statistics(counts: Counts) -> dict[tuple[str, ...], Statistic]:
        each = {name: mask_statistics(columns, counts) for name, columns in networks.items()}
        if len(each) == 2:
            # The same resamples on both sides: this is the paired difference.
            each["difference"] = {name: each["enhanced"][name] - each["coarse"][name] for name in each["enhanced"]}
        return {(network, name): values for network, of_network in each.items() for name, values in of_network.items()}

    return {
        **dict.fromkeys(("coarse", "enhanced", "difference")),
        **nested(resamples.estimates(statistics)),
        "jaccard_histogram": jaccard_histogram(networks),
    }


def _classification(
    scores: Sequence[ImageScore], classes: Sequence[str], resamples: Resamples, thresholds: Sequence[OperatingPoint]
) -> dict[str, Any] | None:
    decisions = labelled(scores)
    if decisions is None:
        return None
    estimates = resamples.estimates(lambda counts: class_statistics(decisions, classes, counts, thresholds))
    summary = nested({name: value for name, value in estimates.items() if name[0] != "operating_points"})
    for index, name in enumerate(classes[1:], 1):
        summary["classes"][name] = {"cases": int((decisions.labels == index).sum()), **summary["classes"][name]}
    return {**summary, "operating_points": operating_points(thresholds, estimates), **curves(decisions, classes)}
