"""Percentile bootstrap: how far a score would move had other images been drawn.

A resample is a row of counts, how often each image was drawn, so every statistic of many resamples is a few
matrix operations. A row of ones gives the statistic of the images as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Shaped

Counts: TypeAlias = Float[np.ndarray, "s n"]
"""How often each of n images stands in each of s resamples."""
Statistic: TypeAlias = Float[np.ndarray, " s"]
"""One value a resample; NaN where the resample lacks what the statistic needs."""
Statistics: TypeAlias = Mapping[tuple[str, ...], Statistic]
"""Statistics by name; a name of several words is a place in a nested summary."""

INFLATED = "calibration_error"
"""A statistic that every redrawing makes larger on average, being a sum of absolute errors."""
DIFFERENCE = "difference"
"""Part of the name of what is the difference of two statistics."""
BLOCK = 4_000_000
"""Counts held at a time: 32 MB, however many images and resamples there are."""


class Interval(NamedTuple):
    """Where the middle 95 % of the resamples lie."""

    low: float
    high: float


class Estimate(TypedDict):
    """A score and its 95 % interval; low and high are None without resamples."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Resamples:
    """Images as they are, then redrawn with replacement many times."""

    images: int
    samples: int = 1000
    seed: int = 0
    groups: Sequence[Hashable] | None = None
    """What each image belongs to, such as its patient; whole groups are drawn then."""

    def estimates(self, statistics: Callable[[Counts], Statistics]) -> dict[tuple[str, ...], Estimate | None]:
        """Give each statistic of the images with its interval; None where it is undefined."""
        parts = [statistics(counts) for counts in self._blocks()]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {
            name: estimate(_centred(values) if name[-1] == INFLATED and DIFFERENCE not in name else values)
            for name, values in joined.items()
        }

    def _blocks(self) -> Iterator[Counts]:
        yield np.ones((1, self.images))
        generator = np.random.default_rng(self.seed)
        rows = max(1, BLOCK // max(1, self.images))
        for start in range(0, self.samples, rows):
            yield resample_counts(self.images, min(rows, self.samples - start), generator, self.groups)


def resample_counts(
    images: int, samples: int, seed: int | np.random.Generator, groups: Sequence[Hashable] | None = None
) -> Counts:
    """Draw resamples of images with replacement; whole groups where groups are given."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups or range(images)))}
    membership = np.array([numbers[group] for group in groups or range(images)])
    chances = np.full(len(numbers), 1 / len(numbers))
    draws = np.random.default_rng(seed).multinomial(len(numbers), chances, size=samples)
    return draws[:, membership].astype(np.float64)


def estimate(statistic: Statistic) -> Estimate | None:
    """Take the images' own value, which stands first, and the interval of the resamples after it."""
    if not np.isfinite(statistic[0]):
        return None
    low, high = percentile_interval(statistic[1:]) or (None, None)
    return Estimate(value=float(statistic[0]), low=low, high=high)


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


def median(counts: Counts, values: Float[np.ndarray, " n"]) -> Statistic:
    """Give the middle of the values that are not NaN, or the mean of the two middle ones."""
    valid = np.flatnonzero(~np.isnan(values))
    order = valid[np.argsort(values[valid])]
    if not order.size:
        return np.full(len(counts), np.nan)
    drawn = np.cumsum(counts[:, order], axis=1)
    total = drawn[:, -1:]
    lower, upper = ((drawn >= rank).argmax(axis=1) for rank in (np.ceil(total / 2), np.floor(total / 2) + 1))
    middle: Statistic = (values[order][lower] + values[order][upper]) / 2
    middle[total[:, 0] == 0] = np.nan
    return middle


def auc(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Give the chance that a case outscores another image, ties counting half: the area under the ROC curve."""
    cases, others = _by_score(counts, score, is_case)
    lower = np.cumsum(others, axis=1) - others
    wins = (cases * (lower + others / 2)).sum(axis=1)
    return _divide(wins, cases.sum(axis=1) * others.sum(axis=1))


def partial_auc(
    counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"], sensitivity: float = 0.8
) -> Statistic:
    """Give the area under the part of the ROC curve above a sensitivity: 1 at best, 0.18 above 80 % by chance.

    Neither scaled nor corrected, as in `isic-challenge-scoring`: the area from where the curve reaches the
    sensitivity to its right end, down to the axis.
    """
    found, alarms = _rates(counts, score, is_case)
    gained, step = np.diff(found, axis=1), np.diff(alarms, axis=1)
    # Of each step along the curve, only what lies above the sensitivity counts.
    share = np.where(found[:, 1:] < sensitivity, 0.0, 1.0)
    crossing = (found[:, :-1] < sensitivity) & (found[:, 1:] >= sensitivity)
    share[crossing] = (found[:, 1:][crossing] - sensitivity) / gained[crossing]
    lower = np.where(crossing, sensitivity, found[:, :-1])
    area: Statistic = (share * step * (lower + found[:, 1:]) / 2).sum(axis=1)
    area[~np.isfinite(found[:, -1] + alarms[:, -1])] = np.nan
    return area


def specificity_at(
    counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"], sensitivity: float
) -> Statistic:
    """Give the specificity at the highest threshold that finds at least this share of the cases."""
    found, alarms = _rates(counts, score, is_case)
    reached = (found >= sensitivity - 1e-12).argmax(axis=1)
    specificity: Statistic = 1 - alarms[np.arange(len(alarms)), reached]
    specificity[~np.isfinite(found[:, -1])] = np.nan
    return specificity


def average_precision(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Average the precision at each threshold, weighted by the recall gained there."""
    cases, others = _by_score(counts, -score, is_case)
    found = np.cumsum(cases, axis=1)
    precision = _divide(found, found + np.cumsum(others, axis=1))
    # A threshold that no drawn image reaches has no precision, and gains no recall either.
    return _divide((np.nan_to_num(precision) * cases).sum(axis=1), cases.sum(axis=1))


def calibration_error(
    counts: Counts, confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = 10
) -> Statistic:
    """Average over equal bins of confidence how far it is from the share that is right (the ECE), by images."""
    bin_of = confidence_bins(confidence, bins)
    gaps = counts @ ((bin_of[:, None] == np.arange(bins)) * (right - confidence)[:, None])
    return _divide(np.abs(gaps).sum(axis=1), counts.sum(axis=1))


def confidence_bins(confidence: Float[np.ndarray, " n"], bins: int = 10) -> Shaped[np.ndarray, " n"]:
    """Number the bin of each confidence; a bin holds its upper edge, as is usual for the ECE."""
    numbers: Shaped[np.ndarray, " n"] = (np.ceil(confidence * bins).astype(int) - 1).clip(0, bins - 1)
    return numbers


def _centred(statistic: Statistic) -> Statistic:
    """Move resamples so that their mean is the images' own value, which stands first; none below 0."""
    bias = np.nanmean(statistic[1:]) - statistic[0] if np.isfinite(statistic[1:]).any() else 0.0
    return np.concatenate([statistic[:1], np.maximum(statistic[1:] - bias, 0)])


def _rates(
    counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "s t"], Float[np.ndarray, "s t"]]:
    """Give sensitivity and 1 - specificity at each threshold, highest first, after 0 for none."""
    cases, others = _by_score(counts, -score, is_case)
    start = np.zeros((len(counts), 1))
    found, alarms = (np.hstack([start, np.cumsum(hits, axis=1)]) for hits in (cases, others))
    return _divide(found, np.broadcast_to(found[:, -1:], found.shape)), _divide(
        alarms, np.broadcast_to(alarms[:, -1:], alarms.shape)
    )


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
