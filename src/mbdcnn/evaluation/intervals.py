"""Percentile bootstrap: how far a score would move had other images been drawn.

A resample is a row of counts, how often each image was drawn, so every statistic of all resamples is a few
matrix operations. A row of ones gives the statistic of the images as they are.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Shaped

Counts: TypeAlias = Float[np.ndarray, "s n"]
"""How often each of n images stands in each of s resamples."""
Statistic: TypeAlias = Float[np.ndarray, " s"]
"""One value a resample; NaN where the resample lacks what the statistic needs."""


class Interval(NamedTuple):
    """Where the middle 95 % of the resamples lie."""

    low: float
    high: float


def resample_counts(images: int, samples: int, seed: int, groups: Sequence[Hashable] | None = None) -> Counts:
    """Draw resamples of images with replacement.

    Args:
        images: how many images there are.
        samples: how many resamples to draw.
        seed: the same seed gives the same resamples.
        groups: what each image belongs to, such as its patient; whole groups are drawn then.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups or range(images)))}
    membership = np.array([numbers[group] for group in groups or range(images)])
    chances = np.full(len(numbers), 1 / len(numbers))
    draws = np.random.default_rng(seed).multinomial(len(numbers), chances, size=samples)
    return draws[:, membership].astype(np.float64)


def percentile_interval(values: Statistic, level: float = 0.95) -> Interval | None:
    """Bound the middle of the resamples' values, leaving out NaN; None if nothing is left."""
    valid = values[np.isfinite(values)]
    if not valid.size:
        return None
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def ratio(counts: Counts, numerators: Shaped[np.ndarray, " n"], denominators: Shaped[np.ndarray, " n"]) -> Statistic:
    """Divide the sum of one quantity over the images by the sum of another."""
    return _divide(counts @ numerators, counts @ denominators)


def mean(counts: Counts, values: Float[np.ndarray, " n"]) -> Statistic:
    """Average over the images whose value is not NaN."""
    valid = ~np.isnan(values)
    return ratio(counts, np.where(valid, values, 0.0), valid.astype(np.float64))


def auc(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Give the chance that a case outscores another image, ties counting half: the area under the ROC curve."""
    cases, others = _by_score(counts, score, is_case)
    lower = np.cumsum(others, axis=1) - others
    wins = (cases * (lower + others / 2)).sum(axis=1)
    return _divide(wins, cases.sum(axis=1) * others.sum(axis=1))


def average_precision(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Average the precision at each threshold, weighted by the recall gained there."""
    cases, others = _by_score(counts, -score, is_case)
    found = np.cumsum(cases, axis=1)
    precision = _divide(found, found + np.cumsum(others, axis=1))
    # A threshold that no drawn image reaches has no precision, and gains no recall either.
    return _divide((np.nan_to_num(precision) * cases).sum(axis=1), cases.sum(axis=1))


def _by_score(
    counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "s u"], Float[np.ndarray, "s u"]]:
    """Count cases and others at each distinct score, lowest first."""
    order = np.argsort(score, kind="stable")
    _, starts = np.unique(score[order], return_index=True)
    cases = np.add.reduceat(counts[:, order] * is_case[order], starts, axis=1)
    others = np.add.reduceat(counts[:, order] * ~is_case[order], starts, axis=1)
    return cases, others


def _divide(
    numerator: Float[np.ndarray, "*shape"], denominator: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    quotient = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
