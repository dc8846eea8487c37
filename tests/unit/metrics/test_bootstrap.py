from __future__ import annotations

import numpy as np
import pytest

from mbdcnn.metrics import bootstrap, estimators
from mbdcnn.metrics.bootstrap import Resamples, Statistic, percentile_interval, resample_counts


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
        np.ptp(percentile_interval(estimators.mean(resample_counts(300, 500, 0, groups), values).values))
        for groups in (None, patients)
    ]
    assert width[1] > 2 * width[0]


def test_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.2, 400)
    low, high = percentile_interval(estimators.mean(resample_counts(400, 4000, seed=2), values).values)
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.002)


def test_blocks_of_resamples_are_the_same_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).uniform(size=30)
    resamples = Resamples(30, samples=101, seed=5)

    def whole_and_largest() -> tuple[object, int]:
        sizes = []

        def statistics(counts: np.ndarray) -> dict[tuple[str, ...], np.ndarray]:
            sizes.append(counts.size)
            return {("mean",): estimators.mean(counts, values)}

        return resamples.estimates(statistics), max(sizes)

    at_once, large = whole_and_largest()
    monkeypatch.setattr(bootstrap, "BLOCK", 300)
    in_blocks, small = whole_and_largest()
    for key in ("value", "low", "high"):
        assert at_once["mean",][key] == pytest.approx(in_blocks["mean",][key], rel=1e-12)
    assert (large, small) == (101 * 30, 300)


def test_the_interval_of_the_calibration_error_holds_it() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 80)
    right = rng.uniform(size=80) < confidence
    estimates = Resamples(80, 400).estimates(
        lambda counts: {
            ("error",): (error := estimators.calibration_error(counts, confidence, right)),
            ("difference",): error - Statistic(np.full(len(counts), 0.5)),
        }
    )
    error, difference = estimates["error",], estimates["difference",]
    assert 0 <= error["low"] < error["value"] < error["high"]
    assert difference["low"] < 0
    # As the resamples are: nothing is moved where two are subtracted.
    assert difference["high"] + 0.5 > error["high"]
