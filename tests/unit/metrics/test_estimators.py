"""Vectorised estimators against a loop over the drawn images."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from mbdcnn.metrics import estimators
from mbdcnn.metrics.bootstrap import Interval, percentile_interval, resample_counts


def example(images: int = 40, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(size=images).round(decimals), rng.uniform(size=images) < 0.3


@pytest.mark.parametrize("decimals", [1, 6])
def test_vectorised_areas_equal_the_loop_over_drawn_images(decimals: int) -> None:
    score, is_case = example(decimals=decimals)
    counts = resample_counts(len(score), 50, seed=1)
    areas, precisions = (
        estimators.auc(counts, score, is_case).values,
        estimators.average_precision(counts, score, is_case).values,
    )
    for row, area, precision in zip(counts.astype(int), areas, precisions, strict=True):
        drawn = np.repeat(np.arange(len(score)), row)
        assert area == pytest.approx(roc_auc_score(is_case[drawn], score[drawn]))
        assert precision == pytest.approx(average_precision_score(is_case[drawn], score[drawn]))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_agreement_equals_that_of_the_drawn_images() -> None:
    rng = np.random.default_rng(4)
    labels, decided = rng.choice([0, 2, 3], 60, p=[0.6, 0.3, 0.1]), rng.choice([0, 1, 2], 60)
    counts = np.vstack([np.ones(60), resample_counts(60, 50, seed=1)])
    found = {name: each.values for name, each in estimators.agreement(counts, labels, decided, 5).items()}
    whole = 0
    for number, row in enumerate(counts.astype(int)):
        truth, said = np.repeat(labels, row), np.repeat(decided, row)
        assert found["cohen_kappa"][number] == pytest.approx(cohen_kappa_score(truth, said))
        if {*truth} == {0, 2, 3}:
            whole += 1
            assert found["balanced_accuracy"][number] == pytest.approx(balanced_accuracy_score(truth, said))
            assert found["macro_f1"][number] == pytest.approx(f1_score(truth, said, average="macro"))
    assert whole > 40


def test_agreement_leaves_out_a_resample_that_lacks_a_class_and_kappa_needs_two() -> None:
    counts = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    right = np.array([0, 0, 1])
    found = {name: each.values for name, each in estimators.agreement(counts, right, right, 2).items()}
    for name in ("balanced_accuracy", "macro_f1", "cohen_kappa"):
        assert found[name][0] == 1
        assert np.isnan(found[name][1:]).all()


def test_median_of_resamples_is_that_of_the_values_drawn() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=9).round(1)
    values[4] = np.nan
    counts = rng.integers(0, 3, (50, 9)).astype(float)
    expected = [np.nanmedian(np.repeat(values, row.astype(int))) for row in counts]
    assert np.allclose(estimators.median(counts, values).values, expected)
    only_nan = np.eye(9)[4:5]
    assert np.isnan(estimators.median(only_nan, values).values).all()
    assert np.isnan(estimators.median(counts, np.full(9, np.nan)).values).all()


def test_means_and_ratios_equal_the_loop_over_drawn_images() -> None:
    values = np.array([0.5, np.nan, 1.0, 0.0, 0.25])
    sizes = np.array([1, 5, 2, 8, 4])
    counts = resample_counts(5, 50, seed=1)
    means, ratios = estimators.mean(counts, values).values, estimators.ratio(counts, sizes, sizes**2).values
    for row, mean, ratio in zip(counts.astype(int), means, ratios, strict=True):
        drawn = np.repeat(np.arange(5), row)
        assert mean == pytest.approx(np.nanmean(values[drawn]))
        assert ratio == pytest.approx(sizes[drawn].sum() / (sizes[drawn] ** 2).sum())


def test_a_resample_without_cases_is_left_out() -> None:
    score, is_case = np.array([0.1, 0.9, 0.4]), np.array([False, True, False])
    counts = np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    area = estimators.auc(counts, score, is_case).values
    assert np.isnan(area).tolist() == [True, False, True]
    assert percentile_interval(area) == Interval(1.0, 1.0)
    assert percentile_interval(np.array([np.nan])) is None
    assert percentile_interval(np.array([])) is None


def area_above_sensitivity(is_case: np.ndarray, score: np.ndarray, sensitivity: float) -> float:
    """The curve's area right of where it reaches the sensitivity, by small steps along a fine axis."""
    alarms, found, _ = roc_curve(is_case, score, drop_intermediate=False)
    place = np.searchsorted(found, sensitivity)
    share = (sensitivity - found[place - 1]) / (found[place] - found[place - 1])
    start = alarms[place - 1] + share * (alarms[place] - alarms[place - 1])
    return float(np.trapezoid([sensitivity, *found[place:]], [start, *alarms[place:]]))


@pytest.mark.parametrize("decimals", [1, 2, 6])
def test_partial_area_and_specificity_equal_the_loop_over_drawn_images(decimals: int) -> None:
    score, is_case = example(decimals=decimals)
    counts = resample_counts(len(score), 50, seed=1)
    areas = estimators.partial_auc(counts, score, is_case, 0.8).values
    specificities = estimators.specificity_at(counts, score, is_case, 0.9).values
    for row, area, specificity in zip(counts.astype(int), areas, specificities, strict=True):
        drawn = np.repeat(np.arange(len(score)), row)
        assert area == pytest.approx(area_above_sensitivity(is_case[drawn], score[drawn], 0.8))
        alarms, found, _ = roc_curve(is_case[drawn], score[drawn], drop_intermediate=False)
        assert specificity == pytest.approx(1 - alarms[found >= 0.9 - 1e-12].min())


def test_partial_area_of_perfect_useless_and_missing_classifiers() -> None:
    is_case = np.arange(10) < 4
    ones = np.ones((1, 10))
    assert estimators.partial_auc(ones, is_case.astype(float), is_case).values == pytest.approx(1)
    assert estimators.partial_auc(ones, np.full(10, 0.5), is_case).values == pytest.approx(0.18)
    assert estimators.partial_auc(ones, -is_case.astype(float), is_case).values == pytest.approx(0)
    for missing in (np.ones(10, bool), np.zeros(10, bool)):
        assert np.isnan(estimators.partial_auc(ones, np.linspace(0, 1, 10), missing).values).all()
        assert np.isnan(estimators.specificity_at(ones, np.linspace(0, 1, 10), missing, 0.8).values).all()


def test_calibration_error_equals_the_loop_over_bins() -> None:
    rng = np.random.default_rng(4)
    confidence = np.concatenate([rng.uniform(size=60), [0.0, 0.1, 0.3, 1.0]])
    right = rng.uniform(size=64) < confidence**2
    counts = resample_counts(64, 20, seed=0)
    for row, error in zip(
        counts.astype(int), estimators.calibration_error(counts, confidence, right).values, strict=True
    ):
        drawn, expected = np.repeat(np.arange(64), row), 0.0
        for low in np.arange(10) / 10:
            inside = (confidence[drawn] > low + 1e-12) & (confidence[drawn] <= low + 0.1 + 1e-12)
            inside |= (low == 0) & (confidence[drawn] == 0)
            if inside.any():
                gap = right[drawn][inside].mean() - confidence[drawn][inside].mean()
                expected += inside.mean() * abs(gap)
        assert error == pytest.approx(expected)
