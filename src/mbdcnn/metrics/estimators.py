"""Estimators over counted images: AUC, average precision, calibration error ... of many resamples at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mbdcnn.metrics.bootstrap import Counts, Statistic, Values


def ratio(counts: Counts, numerators: Shaped[np.ndarray, " n"], denominators: Shaped[np.ndarray, " n"]) -> Statistic:
    """Divide the sum of one quantity over the images by the sum of another."""
    return Statistic(_divide(counts @ numerators, counts @ denominators))


def mean(counts: Counts, values: Float[np.ndarray, " n"]) -> Statistic:
    """Average over the images whose value is not NaN."""
    valid = ~np.isnan(values)
    return ratio(counts, np.where(valid, values, 0.0), valid.astype(np.float64))


def median(counts: Counts, values: Float[np.ndarray, " n"]) -> Statistic:
    """Give the middle of the values that are not NaN, or the mean of the two middle ones."""
    valid = np.flatnonzero(~np.isnan(values))
    order = valid[np.argsort(values[valid])]
    if not order.size:
        return Statistic(np.full(len(counts), np.nan))
    drawn = np.cumsum(counts[:, order], axis=1)
    total = drawn[:, -1:]
    lower, upper = ((drawn >= rank).argmax(axis=1) for rank in (np.ceil(total / 2), np.floor(total / 2) + 1))
    middle: Values = (values[order][lower] + values[order][upper]) / 2
    middle[total[:, 0] == 0] = np.nan
    return Statistic(middle)


def auc(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Give the chance that a case outscores another image, ties counting half: the area under the ROC curve."""
    cases, others = _by_score(counts, score, is_case)
    lower = np.cumsum(others, axis=1) - others
    wins = (cases * (lower + others / 2)).sum(axis=1)
    return Statistic(_divide(wins, cases.sum(axis=1) * others.sum(axis=1)))


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
    area: Values = (share * step * (lower + found[:, 1:]) / 2).sum(axis=1)
    area[~np.isfinite(found[:, -1] + alarms[:, -1])] = np.nan
    return Statistic(area)


def specificity_at(
    counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"], sensitivity: float
) -> Statistic:
    """Give the specificity at the highest threshold that finds at least this share of the cases."""
    found, alarms = _rates(counts, score, is_case)
    reached = (found >= sensitivity - 1e-12).argmax(axis=1)
    specificity: Values = 1 - alarms[np.arange(len(alarms)), reached]
    specificity[~np.isfinite(found[:, -1])] = np.nan
    return Statistic(specificity)


def average_precision(counts: Counts, score: Float[np.ndarray, " n"], is_case: Bool[np.ndarray, " n"]) -> Statistic:
    """Average the precision at each threshold, weighted by the recall gained there."""
    cases, others = _by_score(counts, -score, is_case)
    found = np.cumsum(cases, axis=1)
    precision = _divide(found, found + np.cumsum(others, axis=1))
    # A threshold that no drawn image reaches has no precision, and gains no recall either.
    return Statistic(_divide((np.nan_to_num(precision) * cases).sum(axis=1), cases.sum(axis=1)))


def calibration_error(
    counts: Counts, confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], bins: int = 10
) -> Statistic:
    """Average over equal bins of confidence how far it is from the share that is right (the ECE), by images."""
    bin_of = confidence_bins(confidence, bins)
    gaps = counts @ ((bin_of[:, None] == np.arange(bins)) * (right - confidence)[:, None])
    # A sum of absolute errors, which every resampling makes larger on average.
    return Statistic(_divide(np.abs(gaps).sum(axis=1), counts.sum(axis=1)), inflated=True)


def agreement(
    counts: Counts, labels: Int[np.ndarray, " n"], decided: Int[np.ndarray, " n"], classes: int
) -> dict[str, Statistic]:
    """Score decisions of several classes against the truth, so that rare classes weigh as much as common ones.

    Returns:
        `balanced_accuracy`: mean sensitivity of the classes that have cases. `macro_f1`: mean F1 score of the classes
        that are some image's truth or decision. `cohen_kappa`: agreement beyond chance, 1 at best. A resample that
        lacks one of these classes is left out of the first two.
    """
    pairs = labels * classes + decided == np.arange(classes**2)[:, None]
    confusion = (counts @ pairs.T).reshape(-1, classes, classes)
    hits, true, taken = confusion.diagonal(axis1=1, axis2=2), confusion.sum(axis=2), confusion.sum(axis=1)
    with_cases, named = np.unique(labels), np.union1d(labels, decided)
    images = true.sum(axis=1)
    agreed, by_chance = _divide(hits.sum(axis=1), images), _divide((true * taken).sum(axis=1), images**2)
    return {
        "balanced_accuracy": Statistic(_divide(hits, true)[:, with_cases].mean(axis=1)),
        "macro_f1": Statistic(_divide(2 * hits, true + taken)[:, named].mean(axis=1)),
        "cohen_kappa": Statistic(_divide(agreed - by_chance, 1 - by_chance)),
    }


def confidence_bins(confidence: Float[np.ndarray, " n"], bins: int = 10) -> Shaped[np.ndarray, " n"]:
    """Number the bin of each confidence; a bin holds its upper edge, as is usual for the ECE."""
    numbers: Shaped[np.ndarray, " n"] = (np.ceil(confidence * bins).astype(int) - 1).clip(0, bins - 1)
    return numbers


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
