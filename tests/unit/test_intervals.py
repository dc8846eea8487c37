from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mbdcnn.evaluation import intervals
from mbdcnn.evaluation.intervals import Interval, percentile_interval, resample_counts


def example(images: int = 40, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.uniform(size=images).round(decimals), rng.uniform(size=images) < 0.3


@pytest.mark.parametrize("decimals", [1, 6])
def test_vectorised_areas_equal_the_loop_over_drawn_images(decimals: int) -> None:
    score, is_case = example(decimals=decimals)
    counts = resample_counts(len(score), 50, seed=1)
    areas, precisions = intervals.auc(counts, score, is_case), intervals.average_precision(counts, score, is_case)
    for row, area, precision in zip(counts.astype(int), areas, precisions, strict=True):
        drawn = np.repeat(np.arange(len(score)), row)
        assert area == pytest.approx(roc_auc_score(is_case[drawn], score[drawn]))
        assert precision == pytest.approx(average_precision_score(is_case[drawn], score[drawn]))


def test_means_and_ratios_equal_the_loop_over_drawn_images() -> None:
    values = np.array([0.5, np.nan, 1.0, 0.0, 0.25])
    sizes = np.array([1, 5, 2, 8, 4])
    counts = resample_counts(5, 50, seed=1)
    means, ratios = intervals.mean(counts, values), intervals.ratio(counts, sizes, sizes**2)
    for row, mean, ratio in zip(counts.astype(int), means, ratios, strict=True):
        drawn = np.repeat(np.arange(5), row)
        assert mean == pytest.approx(np.nanmean(values[drawn]))
        assert ratio == pytest.approx(sizes[drawn].sum() / (sizes[drawn] ** 2).sum())


def test_a_resample_without_cases_is_left_out() -> None:
    score, is_case = np.array([0.1, 0.9, 0.4]), np.array([False, True, False])
    counts = np.array([[1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    area = intervals.auc(counts, score, is_case)
    assert np.isnan(area).tolist() == [True, False, True]
    assert percentile_interval(area) == Interval(1.0, 1.0)
    assert percentile_interval(np.array([np.nan])) is None
    assert percentile_interval(np.array([])) is None


def test_resamples_draw_as_many_images_as_there_are_and_repeat_with_the_seed() -> None:
    counts = resample_counts(30, 200, seed=5)
    assert counts.shape == (200, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.3)
    assert (counts == resample_counts(30, 200, seed=5)).all()
    assert (counts != resample_counts(30, 200, seed=6)).any()


def test_images_of_one_patient_are_drawn_together() -> None:
    groups = ["a", "b", "a", "c", "b"]
    counts = resample_counts(5, 100, seed=0, groups=groups)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (counts[:, 0] != counts[:, 1]).any()


def test_grouping_widens_the_interval_of_correlated_images() -> None:
    values = np.repeat(np.random.default_rng(0).uniform(size=30), 10)
    patients = np.repeat(np.arange(30), 10).tolist()
    width = [
        np.ptp(percentile_interval(intervals.mean(resample_counts(300, 500, 0, groups), values)))
        for groups in (None, patients)
    ]
    assert width[1] > 2 * width[0]


def test_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.2, 400)
    low, high = percentile_interval(intervals.mean(resample_counts(400, 4000, seed=2), values))
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.002)
