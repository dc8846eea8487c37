"""Scores of class probabilities over many images: areas, decisions, calibration, operating points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Counts, Statistic
from mbdcnn.metrics.estimators import confidence_bins

SENSITIVITIES = (0.8, 0.9, 0.95)
BINS = 10
DECISION_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa")
"""Of the most probable class, over all classes together."""


class Decisions(NamedTuple):
    """The images that have a class and probabilities."""

    kept: Bool[np.ndarray, " all"]
    """Which of all images they are."""
    labels: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n k"]
    uncalibrated: Float[np.ndarray, "n k"] | None
    """Probabilities before calibration, where there was one."""

    @property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Where the most probable class is the true one."""
        right: Bool[np.ndarray, " n"] = self.probabilities.argmax(axis=1) == self.labels
        return right


def labelled(scores: Sequence[ImageScore]) -> Decisions | None:
    """Give the images with a class and probabilities; None if there is none."""
    kept = np.array([score.label is not None and score.probabilities is not None for score in scores], bool)
    if not kept.any():
        return None
    rows = [score for score, keep in zip(scores, kept, strict=True) if keep]
    calibrated = all(score.uncalibrated for score in rows)
    return Decisions(
        kept,
        np.array([score.label for score in rows]),
        np.array([score.probabilities for score in rows], float),
        np.array([score.uncalibrated for score in rows], float) if calibrated else None,
    )


def class_statistics(
    decisions: Decisions, classes: Sequence[str], counts: Counts, thresholds: Sequence[OperatingPoint] = ()
) -> dict[tuple[str, ...], Statistic]:
    """Score each class other than the first against all others, and all classes together.

    Args:
        decisions: the images.
        classes: names in the order of the probabilities.
        counts: resamples of all images, of which `decisions` keeps some.
        thresholds: operating points.
    """
    statistics = _of_probabilities(decisions, classes, counts)
    after = statistics.pop(("calibration_error",))
    statistics["calibration", "after", "calibration_error"] = after
    if decisions.uncalibrated is not None:
        plain = _of_probabilities(decisions._replace(probabilities=decisions.uncalibrated), classes, counts)
        before = plain.pop(("calibration_error",))
        statistics["calibration", "before", "calibration_error"] = before
        statistics["calibration", "difference", "calibration_error"] = after - before
        statistics |= {("uncalibrated", *name): values for name, values in plain.items()}
    return statistics | _at_thresholds(decisions, classes, counts[:, decisions.kept], thresholds)


def _of_probabilities(decisions: Decisions, classes: Sequence[str], counts: Counts) -> dict[tuple[str, ...], Statistic]:
    overall = overall_statistics(decisions, classes, counts)
    return {
        ("classes", name, score): values
        for index, name in enumerate(classes)
        if index > 0
        for score, values in _one_against_rest(decisions, index, counts[:, decisions.kept]).items()
    } | {(name,): overall[name] for name in ("mean_auc", *DECISION_SCORES, "calibration_error")}


def overall_statistics(decisions: Decisions, classes: Sequence[str], counts: Counts) -> dict[str, Statistic]:
    """Score all classes together: mean AUC, each class's AUC as `CLASS_auc`, decisions, ECE.

    The mean is over the classes that have cases here. A resample that lacks the cases of one of them is left out, not
    averaged over the others.
    """
    counts = counts[:, decisions.kept]
    areas = {
        f"{name}_auc": estimators.auc(counts, decisions.probabilities[:, index], decisions.labels == index)
        for index, name in enumerate(classes)
        if index > 0
    }
    with_cases = [area.values for index, area in enumerate(areas.values(), 1) if _has_both(decisions.labels == index)]
    return {
        "mean_auc": Statistic(np.mean(with_cases, axis=0) if with_cases else np.full(len(counts), math.nan)),
        **areas,
        "accuracy": estimators.mean(counts, decisions.right.astype(float)),
        **estimators.agreement(counts, decisions.labels, decisions.probabilities.argmax(axis=1), len(classes)),
        "calibration_error": estimators.calibration_error(
            counts, decisions.probabilities.max(axis=1), decisions.right, BINS
        ),
    }


def _at_thresholds(
    decisions: Decisions, classes: Sequence[str], counts: Counts, thresholds: Sequence[OperatingPoint]
) -> dict[tuple[str, ...], Statistic]:
    statistics: dict[tuple[str, ...], Statistic] = {}
    for number, point in enumerate(thresholds):
        index = classes.index(point.class_name)
        above, is_case = decisions.probabilities[:, index] >= point.threshold, decisions.labels == index
        place = ("operating_points", str(number))
        statistics[*place, "sensitivity"] = estimators.ratio(counts, above & is_case, is_case)
        statistics[*place, "specificity"] = estimators.ratio(counts, ~above & ~is_case, ~is_case)
    return statistics


def curves(decisions: Decisions, classes: Sequence[str]) -> dict[str, Any]:
    """Give confusion matrix, ROC and precision-recall curves, and the reliability diagram's points."""
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (decisions.labels, decisions.probabilities.argmax(axis=1)), 1)
    cases = {name: decisions.labels == index for index, name in enumerate(classes) if index > 0}
    columns = {name: decisions.probabilities[:, classes.index(name)] for name in cases}
    before = decisions.uncalibrated
    return {
        "confusion_truth_by_decision": confusion.tolist(),
        "roc": {name: _roc(columns[name], is_case) for name, is_case in cases.items()},
        "precision_recall": {name: _precision_recall(columns[name], is_case) for name, is_case in cases.items()},
        "reliability": {
            "calibrated" if before is not None else "probabilities": _reliability(
                decisions.labels, decisions.probabilities
            ),
            **({} if before is None else {"uncalibrated": _reliability(decisions.labels, before)}),
        },
    }


def _one_against_rest(decisions: Decisions, index: int, counts: Counts) -> dict[str, Statistic]:
    score, is_case = decisions.probabilities[:, index], decisions.labels == index
    decided = decisions.probabilities.argmax(axis=1) == index
    return {
        "accuracy": estimators.mean(counts, (decided == is_case).astype(np.float64)),
        "auc": estimators.auc(counts, score, is_case),
        "partial_auc": estimators.partial_auc(counts, score, is_case),
        "average_precision": estimators.average_precision(counts, score, is_case),
        "sensitivity": estimators.ratio(counts, decided & is_case, is_case),
        "specificity": estimators.ratio(counts, ~decided & ~is_case, ~is_case),
        **{
            f"specificity_at_{100 * sensitivity:.0f}": estimators.specificity_at(counts, score, is_case, sensitivity)
            for sensitivity in SENSITIVITIES
        },
        "calibration_error": estimators.calibration_error(counts, score, is_case, BINS),
    }


def _has_both(is_case: Bool[np.ndarray, " n"]) -> bool:
    return bool(is_case.any() and not is_case.all())


def _reliability(labels: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"]) -> list[list[float]]:
    """Give for each bin that is not empty: mean confidence, share that is right, images."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = confidence_bins(confidence, BINS)
    return [
        [float(confidence[inside].mean()), float(right[inside].mean()), float(inside.sum())]
        for inside in (bin_of == number for number in range(BINS))
        if inside.any()
    ]


def _roc(score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> list[list[float]] | None:
    """Give the curve's corners as (1 - specificity, sensitivity), from (0, 0) to (1, 1)."""
    if not _has_both(is_case):
        return None
    cases = _above_each_threshold(score, score[is_case])
    others = _above_each_threshold(score, score[~is_case])
    on_a_line = np.diff(cases[:-1]) * np.diff(others[1:]) == np.diff(cases[1:]) * np.diff(others[:-1])
    corners = np.concatenate([[True], ~on_a_line, [True]])
    curve = np.stack([others[corners] / others[-1], cases[corners] / cases[-1]], axis=1)
    return [[float(x), float(y)] for x, y in curve.round(6)]


def _precision_recall(score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> list[list[float]] | None:
    """Give (recall, precision) as the steps whose area is the average precision."""
    if not _has_both(is_case):
        return None
    cases = _above_each_threshold(score, score[is_case])[1:]
    taken = cases + _above_each_threshold(score, score[~is_case])[1:]
    recall, precision = cases / cases[-1], cases / taken
    gaining = np.diff(recall, prepend=0.0) > 0
    recall, precision = recall[gaining], precision[gaining]
    starts = np.concatenate([[0.0], recall[:-1]])
    steps = np.stack([np.stack([starts, precision], 1), np.stack([recall, precision], 1)], axis=1).reshape(-1, 2)
    return [[float(x), float(y)] for x, y in steps.round(6)]


def _above_each_threshold(
    thresholds: Float[np.ndarray, " n"], values: Float[np.ndarray, " m"]
) -> Int[np.ndarray, " t"]:
    """Count the values at or above each distinct threshold, highest first, after a 0 for none."""
    below = np.searchsorted(np.sort(values), np.unique(thresholds)[::-1], side="left")
    return np.concatenate([[0], len(values) - below])


def operating_points(
    thresholds: Sequence[OperatingPoint], estimates: Mapping[tuple[str, ...], Any]
) -> list[dict[str, Any]]:
    """Put what the calibration images showed beside what these show; `promised` is the former name of that."""
    found = []
    for number, point in enumerate(thresholds):
        shown = {"sensitivity": point.sensitivity._asdict(), "specificity": point.specificity._asdict()}
        found.append(
            {
                "name": point.name,
                "class": point.class_name,
                "target": point.target,
                "threshold": point.threshold,
                "at_calibration": shown,
                "promised": shown,
                **{score: estimates["operating_points", str(number), score] for score in shown},
            }
        )
    return found
