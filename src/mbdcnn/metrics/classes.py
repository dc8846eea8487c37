"""Scores of one classifier over many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int

from mbdcnn.metrics.estimators import auc, average_precision


class ClassMetrics(TypedDict):
    """One class against all others. None where cases, or images of other classes, are missing."""

    cases: int
    accuracy: float
    auc: float | None
    average_precision: float | None
    sensitivity: float | None
    specificity: float | None


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
    once = np.ones((1, len(score)))
    return ClassMetrics(
        cases=cases,
        accuracy=float((decided == is_case).mean()),
        auc=float(auc(once, score, is_case).values[0]) if cases and others else None,
        average_precision=float(average_precision(once, score, is_case).values[0]) if cases and others else None,
        sensitivity=float(decided[is_case].mean()) if cases else None,
        specificity=float((~decided)[~is_case].mean()) if others else None,
    )
