"""Scores of one mask, and of one classifier over many images. NumPy in, plain numbers out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int


class MaskMetrics(TypedDict):
    """One predicted mask against the truth. NaN where a ratio is 0/0, as the authors' code has it."""

    jaccard: float
    dice: float
    accuracy: float
    sensitivity: float
    specificity: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


class ClassMetrics(TypedDict):
    """One class against all others. None where cases, or images of other classes, are wanting."""

    cases: int
    accuracy: float
    auc: float | None
    average_precision: float | None
    sensitivity: float | None
    specificity: float | None


def mask_metrics(prediction: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> MaskMetrics:
    """Score one mask, pixel by pixel."""
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
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        true_negatives=true_negatives,
    )


def thresholded_jaccard(jaccard: float, threshold: float = 0.65) -> float:
    """Count a mask below the threshold as a failure, 0; the rule of the ISIC-2018 challenge. NaN stays NaN."""
    return 0.0 if jaccard < threshold else jaccard


def class_metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], classes: Sequence[str]
) -> dict[str, ClassMetrics]:
    """Score each class other than the first, the benign rest, against all others.

    The decision is the most probable of all classes; AUC and average precision go by the class's probability.
    """
    decisions = probabilities.argmax(axis=1)
    return {
        name: _one_against_rest(score, labels == index, decisions == index)
        for index, (name, score) in enumerate(zip(classes, probabilities.T, strict=True))
        if index > 0
    }


def mean_auc(per_class: Mapping[str, ClassMetrics]) -> float | None:
    """Average the AUCs of the classes that have one; None if no class has."""
    areas = [metrics["auc"] for metrics in per_class.values() if metrics["auc"] is not None]
    return sum(areas) / len(areas) if areas else None


def _one_against_rest(
    score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"], decided: Bool[np.ndarray, " n"]
) -> ClassMetrics:
    cases, others = int(is_case.sum()), int((~is_case).sum())
    auc, average_precision = _ranking(score, is_case) if cases and others else (None, None)
    return ClassMetrics(
        cases=cases,
        accuracy=float((decided == is_case).mean()),
        auc=auc,
        average_precision=average_precision,
        sensitivity=float(decided[is_case].mean()) if cases else None,
        specificity=float((~decided)[~is_case].mean()) if others else None,
    )


def _ranking(score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    # Imported here because it takes seconds.
    from torch import from_numpy
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    # A sum of softmax outputs may round to just above 1, and torchmetrics takes such scores for logits.
    scores, truth = from_numpy(score.clip(0, 1)), from_numpy(is_case.astype(np.int64))
    return float(binary_auroc(scores, truth)), float(binary_average_precision(scores, truth))


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
