"""From one row an image to the summary that is saved and reported."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mbdcnn.errors import UserError
from mbdcnn.evaluation import intervals
from mbdcnn.evaluation.intervals import Counts, Statistic
from mbdcnn.metrics import MaskMetrics, thresholded_jaccard

MASK_MEANS = ("jaccard", "dice", "thresholded_jaccard", "accuracy", "sensitivity", "specificity")
HISTOGRAM_BINS = 20


class ImageScore(NamedTuple):
    """What is known of one image after prediction. None where truth or prediction is missing."""

    id: str
    width: int
    height: int
    label: int | None = None
    probabilities: tuple[float, ...] | None = None
    enhanced: MaskMetrics | None = None
    coarse: MaskMetrics | None = None
    patient: str | None = None


def summarise(
    scores: Sequence[ImageScore], classes: Sequence[str], samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Reduce the rows to means, areas and their 95 % intervals.

    Images are resampled by patient where patients are known. Every estimate is `{value, low, high}`, or None
    where it is undefined; `segmentation` and `classification` are None without the truth they need.

    Args:
        scores: one row an image.
        classes: names in the order of the probabilities; the first is the benign rest.
        samples: bootstrap resamples; 0 for no intervals.
        seed: of the resamples.

    Raises:
        UserError: there is no row.
    """
    if not scores:
        raise UserError("nothing to evaluate: no image has both a prediction and a truth")
    groups = [score.patient or ("image", number) for number, score in enumerate(scores)]
    resamples = intervals.resample_counts(len(scores), samples, seed, groups)
    counts = np.vstack([np.ones((1, len(scores))), resamples])
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
        "segmentation": _segmentation(scores, counts),
        "classification": _classification(scores, classes, counts),
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """Write a summary as JSON; a NaN that slipped in is an error, not a `NaN` no other tool can read."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


def write_per_image_csv(path: Path, scores: Sequence[ImageScore], classes: Sequence[str]) -> None:
    """Write one row an image; a cell is empty where nothing is known."""
    rows = [_csv_row(score, classes) for score in scores]
    columns = dict.fromkeys(column for row in rows for column in row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def choose_cases(scores: Sequence[ImageScore], each: int = 3) -> dict[str, list[int]]:
    """Pick positions of the images worth showing: best, median and worst by Jaccard, none of them twice."""
    jaccards = _column([score.enhanced for score in scores], "jaccard")
    ranked = [int(i) for i in np.argsort(-jaccards, kind="stable") if not math.isnan(jaccards[i])]
    each = min(each, max(1, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    best, worst = ranked[:each], ranked[each:][-each:]
    median = [i for i in ranked[middle : middle + each] if i not in best + worst]
    chosen = {"Best": best, "Median": median, "Worst": worst[::-1]}
    return {heading: positions for heading, positions in chosen.items() if positions}


def _segmentation(scores: Sequence[ImageScore], counts: Counts) -> dict[str, Any] | None:
    networks = {"coarse": [score.coarse for score in scores], "enhanced": [score.enhanced for score in scores]}
    present = {name: masks for name, masks in networks.items() if any(masks)}
    if not present:
        return None
    statistics = {name: _mask_statistics(masks, counts) for name, masks in present.items()}
    if len(statistics) == 2:
        coarse, enhanced = statistics["coarse"], statistics["enhanced"]
        # The same resamples on both sides: this is the paired difference.
        statistics["difference"] = {metric: enhanced[metric] - coarse[metric] for metric in enhanced}
    return {
        **dict.fromkeys(("coarse", "enhanced", "difference")),
        **{name: _estimates(of_network) for name, of_network in statistics.items()},
        "jaccard_histogram": _histogram(present),
    }


def _mask_statistics(masks: Sequence[MaskMetrics | None], counts: Counts) -> dict[str, Statistic]:
    means = {metric: intervals.mean(counts, _column(masks, metric)) for metric in MASK_MEANS}
    overlap = np.array([mask["true_positives"] if mask else 0 for mask in masks])
    union = overlap + [mask["false_positives"] + mask["false_negatives"] if mask else 0 for mask in masks]
    return {**means, "pooled_jaccard": intervals.ratio(counts, overlap, union)}


def _column(masks: Sequence[MaskMetrics | None], metric: str) -> Float[np.ndarray, " n"]:
    return np.array([math.nan if mask is None else _value(mask, metric) for mask in masks])


def _value(mask: MaskMetrics, metric: str) -> float:
    if metric == "thresholded_jaccard":
        return thresholded_jaccard(mask["jaccard"])
    values: Mapping[str, Any] = mask
    return float(values[metric])


def _histogram(networks: Mapping[str, Sequence[MaskMetrics | None]]) -> dict[str, list[float] | list[int]]:
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    columns = {name: _column(masks, "jaccard") for name, masks in networks.items()}
    heights = {
        name: np.histogram(jaccards[~np.isnan(jaccards)], edges)[0].tolist() for name, jaccards in columns.items()
    }
    return {"edges": edges.round(10).tolist(), **heights}


def _classification(scores: Sequence[ImageScore], classes: Sequence[str], counts: Counts) -> dict[str, Any] | None:
    scored = [score.label is not None and score.probabilities is not None for score in scores]
    if not any(scored):
        return None
    labels = np.array([score.label for score, kept in zip(scores, scored, strict=True) if kept])
    probabilities = np.array([score.probabilities for score, kept in zip(scores, scored, strict=True) if kept])
    decisions = probabilities.argmax(axis=1)
    columns = dict(enumerate(zip(classes, probabilities.T, strict=True)))
    del columns[0]
    statistics = {
        name: _class_statistics(counts[:, scored], column, labels == index, decisions == index)
        for index, (name, column) in columns.items()
    }
    areas = [of_class["auc"] for of_class in statistics.values() if np.isfinite(of_class["auc"][0])]
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (labels, decisions), 1)
    return {
        "mean_auc": _estimate(np.mean(areas, axis=0)) if areas else None,
        "classes": {
            name: {"cases": int((labels == index).sum()), **_estimates(statistics[name])}
            for index, (name, _) in columns.items()
        },
        "confusion_truth_by_decision": confusion.tolist(),
        "roc": {name: _roc(column, labels == index) for index, (name, column) in columns.items()},
    }


def _class_statistics(
    counts: Counts,
    score: Float[np.ndarray, " n"],
    is_case: Bool[np.ndarray, " n"],
    decided: Bool[np.ndarray, " n"],
) -> dict[str, Statistic]:
    return {
        "accuracy": intervals.mean(counts, (decided == is_case).astype(np.float64)),
        "auc": intervals.auc(counts, score, is_case),
        "average_precision": intervals.average_precision(counts, score, is_case),
        "sensitivity": intervals.ratio(counts, decided & is_case, is_case),
        "specificity": intervals.ratio(counts, ~decided & ~is_case, ~is_case),
    }


def _roc(score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> list[list[float]] | None:
    """Give the curve's corners as (1 - specificity, sensitivity), from (0, 0) to (1, 1)."""
    if is_case.all() or not is_case.any():
        return None
    cases = _above_each_threshold(score, score[is_case])
    others = _above_each_threshold(score, score[~is_case])
    on_a_line = np.diff(cases[:-1]) * np.diff(others[1:]) == np.diff(cases[1:]) * np.diff(others[:-1])
    corners = np.concatenate([[True], ~on_a_line, [True]])
    curve = np.stack([others[corners] / others[-1], cases[corners] / cases[-1]], axis=1)
    return [[float(x), float(y)] for x, y in curve.round(6)]


def _above_each_threshold(
    thresholds: Float[np.ndarray, " n"], values: Float[np.ndarray, " m"]
) -> Int[np.ndarray, " t"]:
    """Count the values at or above each distinct threshold, highest first, after a 0 for none."""
    below = np.searchsorted(np.sort(values), np.unique(thresholds)[::-1], side="left")
    return np.concatenate([[0], len(values) - below])


def _estimates(statistics: Mapping[str, Statistic]) -> dict[str, dict[str, float | None] | None]:
    return {name: _estimate(statistic) for name, statistic in statistics.items()}


def _estimate(statistic: Statistic) -> dict[str, float | None] | None:
    """Take the images' own value, which stands first, and the interval of the resamples after it."""
    if not np.isfinite(statistic[0]):
        return None
    interval = intervals.percentile_interval(statistic[1:])
    low, high = interval or (None, None)
    return {"value": float(statistic[0]), "low": low, "high": high}


def _csv_row(score: ImageScore, classes: Sequence[str]) -> dict[str, str | int | float]:
    probabilities = score.probabilities or (None,) * len(classes)
    row: dict[str, Any] = {
        "id": score.id,
        "patient": score.patient,
        "width": score.width,
        "height": score.height,
        "label": None if score.label is None else classes[score.label],
        "decision": classes[int(np.argmax(score.probabilities))] if score.probabilities else None,
        **{f"probability_{name}": p for name, p in zip(classes, probabilities, strict=True)},
        **{f"coarse_{name}": value for name, value in (score.coarse or {}).items()},
        **{f"enhanced_{name}": value for name, value in (score.enhanced or {}).items()},
    }
    return {name: "" if value is None or value != value else value for name, value in row.items()}
