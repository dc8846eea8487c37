from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbdcnn.artifacts.calibration import Calibration
from mbdcnn.bundling.calibrate import Evidence, calibrate, fit_temperature, threshold_at
from mbdcnn.config import Calibration as Settings
from mbdcnn.inference.probabilities import averaged_softmax

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")


def drawn(count: int, views: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax, divided by `sharpness`, is just the chance of each label."""
    random = np.random.default_rng(seed)
    logits = np.repeat(random.normal(0, 2, (count, 1, 3)), views, axis=1)
    chances = averaged_softmax(logits, 1.0)
    labels = np.array([random.choice(3, p=chance) for chance in chances])
    return logits * sharpness, labels


def evidence(count: int = 300, seed: int = 0) -> Evidence:
    logits, labels = drawn(count, 2, 3.0, seed)
    return Evidence(logits, labels, range(count))


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_how_sharp_logits_are(sharpness: float) -> None:
    assert fit_temperature(*drawn(3000, 2, sharpness)) == pytest.approx(sharpness, rel=0.1)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 4))
def test_no_temperature_does_better(seed: int, count: int, views: int) -> None:
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 3, (count, views, 3)), random.integers(0, 3, count)

    def loss(temperature: float) -> float:
        return -float(np.log(averaged_softmax(logits, temperature)[np.arange(count), labels]).mean())

    best = loss(fit_temperature(logits, labels))
    assert best <= min(loss(temperature) for temperature in np.geomspace(0.06, 19, 50)) + 1e-3


def test_views_are_averaged_after_the_softmax() -> None:
    logits = np.array([[[2.0, 0.0], [0.0, 6.0]]])
    expected = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(3))) / 2
    assert averaged_softmax(logits, 2.0)[0, 0] == pytest.approx(expected)


def test_thresholds_in_known_cases() -> None:
    cases = np.array([0.9, 0.1, 0.5, 0.7, 0.3])
    for target, threshold in ((0.2, 0.9), (0.21, 0.7), (0.8, 0.3), (0.81, 0.1), (0.99, 0.1)):
        assert threshold_at(target, cases, np.ones(5)) == threshold
    assert threshold_at(0.5, cases, np.array([0, 0, 1, 0, 3])) == 0.3


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7]), min_size=1, max_size=20), st.floats(0.05, 0.99))
def test_a_threshold_is_the_highest_that_reaches_the_sensitivity(cases: list[float], target: float) -> None:
    threshold = threshold_at(target, np.array(cases), np.ones(len(cases)))
    assert np.mean(np.array(cases) >= threshold) >= target - 1e-9
    assert np.mean(np.array(cases) > threshold) < target


def test_operating_points_hold_what_they_say() -> None:
    found = evidence()
    calibration = calibrate(found, CLASSES, Settings(sensitivities=(0.8, 0.95)), "drawn", seed=0)
    probability = averaged_softmax(found.view_logits, calibration.temperature)[:, 1]
    is_case = found.labels == 1
    assert [point.name for point in calibration.operating_points] == [
        "melanoma at 80% sensitivity",
        "melanoma at 95% sensitivity",
    ]
    for point in calibration.operating_points:
        above = probability >= point.threshold
        assert point.sensitivity.value == np.mean(above[is_case]) >= point.target
        assert point.specificity.value == np.mean(~above[~is_case])
        assert point.threshold_interval[0] <= point.threshold <= point.threshold_interval[1]
        for share in (point.sensitivity, point.specificity):
            assert 0 <= share.low < share.value < share.high <= 1
    assert calibration.operating_points[0].threshold > calibration.operating_points[1].threshold
    assert Calibration.model_validate(calibration.model_dump(mode="json")) == calibration


def test_intervals_are_those_of_binomial_counts_and_wider_by_patient() -> None:
    found = evidence(300)
    point = calibrate(found, CLASSES, Settings(), "drawn", seed=0).operating_points[0]
    others = int((found.labels != 1).sum())
    error = math.sqrt(point.specificity.value * (1 - point.specificity.value) / others)
    assert point.specificity.high - point.specificity.low == pytest.approx(2 * 1.96 * error, rel=0.2)
    # The same images six times over, said to be of one patient each: no more is known than before.
    six = Evidence(*(np.repeat(part, 6, axis=0) for part in found[:2]), np.repeat(np.arange(300), 6).tolist())
    grouped = calibrate(six, CLASSES, Settings(), "drawn", seed=0).operating_points[0]
    assert grouped.specificity.low == pytest.approx(point.specificity.low, abs=0.01)
    alone = calibrate(six._replace(groups=range(1800)), CLASSES, Settings(), "drawn", seed=0).operating_points[0]
    assert alone.specificity.low > grouped.specificity.low + 0.01


def test_without_cases_there_is_a_reason_and_no_operating_point() -> None:
    found = evidence()
    none = found._replace(labels=np.where(found.labels == 1, 0, found.labels))
    for calibration, reason in (
        (calibrate(none, CLASSES, Settings(), "drawn", 0), "no cases of melanoma"),
        (calibrate(found, CLASSES, Settings(class_name="wart"), "drawn", 0), "wart is none of the classes"),
    ):
        assert calibration.operating_points == ()
        assert f"no operating points: {reason}" in (calibration.note or "")
    only = found._replace(labels=np.ones_like(found.labels))
    assert "no others than cases" in (calibrate(only, CLASSES, Settings(), "drawn", 0).note or "")
