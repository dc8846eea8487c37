from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree
from sklearn import metrics as sklearn_metrics

from mbdcnn.metrics.masks import boundary_distance, mask_metrics, official, thresholded_jaccard


def mask(*rows: str) -> np.ndarray:
    return np.array([[pixel == "x" for pixel in row] for row in rows])


def test_mask_metrics_of_a_counted_example() -> None:
    metrics = mask_metrics(prediction=mask("xx..", "x..."), truth=mask("xxx.", "...x"))
    assert metrics == {
        "jaccard": 2 / 5,
        "dice": 4 / 7,
        "accuracy": 5 / 8,
        "sensitivity": 2 / 4,
        "specificity": 3 / 4,
        "boundary_distance": pytest.approx(1 + 0.85 * (math.sqrt(5) - 1)),
        "boundary_distance_fraction": pytest.approx((1 + 0.85 * (math.sqrt(5) - 1)) / math.sqrt(20)),
        "true_positives": 2,
        "false_positives": 1,
        "false_negatives": 2,
        "true_negatives": 3,
    }


@pytest.mark.parametrize(
    ("prediction", "truth", "undefined"),
    [
        ("....", "....", {"jaccard", "dice", "sensitivity", "boundary_distance", "boundary_distance_fraction"}),
        ("x...", "....", {"sensitivity"}),
        ("....", "x...", set()),
        ("xxxx", "xxxx", {"specificity"}),
    ],
)
def test_zero_over_zero_is_nan_and_nothing_else_is(prediction: str, truth: str, undefined: set[str]) -> None:
    metrics = mask_metrics(mask(prediction), mask(truth))
    assert {name for name, value in metrics.items() if math.isnan(value)} == undefined


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_mask_metrics_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = (rng.uniform(size=(9, 13)) < rng.uniform(0.1, 0.9) for _ in range(2))
    # Both values in both, so that nothing is 0/0.
    prediction[0, :2], truth[0, :2] = (True, False), (True, False)
    ours, flat = mask_metrics(prediction, truth), (truth.ravel(), prediction.ravel())
    assert ours["jaccard"] == pytest.approx(sklearn_metrics.jaccard_score(*flat))
    assert ours["dice"] == pytest.approx(sklearn_metrics.f1_score(*flat))
    assert ours["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(*flat))
    assert ours["sensitivity"] == pytest.approx(sklearn_metrics.recall_score(*flat))
    assert ours["specificity"] == pytest.approx(sklearn_metrics.recall_score(~flat[0], ~flat[1]))


def test_the_official_scorer_counts_nothing_over_nothing_as_perfect() -> None:
    def scores(prediction: str, truth: str) -> dict[str, float]:
        metrics = mask_metrics(mask(prediction), mask(truth))
        return {name: official(metrics[name]) for name in ("jaccard", "dice", "sensitivity", "specificity")}

    assert scores("....", "....") == {"jaccard": 1, "dice": 1, "sensitivity": 1, "specificity": 1}
    assert scores("x...", "....") == {"jaccard": 0, "dice": 0, "sensitivity": 1, "specificity": 3 / 4}
    assert scores("....", "xx..") == {"jaccard": 0, "dice": 0, "sensitivity": 0, "specificity": 1}
    assert scores("xx..", "xxxx") == {"jaccard": 1 / 2, "dice": 2 / 3, "sensitivity": 1 / 2, "specificity": 1}


def plain_boundary_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The definition, pixel by pixel."""

    def border(mask: np.ndarray) -> list[tuple[int, int]]:
        height, width = mask.shape
        found = []
        for y in range(height):
            for x in range(width):
                beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = all(0 <= v < height and 0 <= u < width and mask[v, u] for v, u in beside)
                if mask[y, x] and not inside:
                    found.append((y, x))
        return found

    def percentile(source: list[tuple[int, int]], target: list[tuple[int, int]]) -> float:
        nearest = [min(math.dist(point, there) for there in target) for point in source]
        return float(np.percentile(nearest, 95))

    borders = border(one), border(other)
    return max(percentile(*borders), percentile(*borders[::-1]))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_boundary_distance_equals_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.uniform(size=(11, 14)) < rng.uniform(0.05, 0.95) for _ in range(2))
    one[3, 4] = other[7, 9] = True
    assert boundary_distance(one, other) == pytest.approx(plain_boundary_distance(one, other))
    assert boundary_distance(one, other) == boundary_distance(other, one)


def test_boundary_distance_of_moved_and_empty_masks() -> None:
    square, nothing = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    square[20:40, 20:40] = True
    assert boundary_distance(square, square) == 0
    assert boundary_distance(square, np.roll(square, 7, axis=1)) == 7
    assert boundary_distance(square, nothing) == boundary_distance(nothing, square) == 100
    assert math.isnan(boundary_distance(nothing, nothing))


def test_boundary_distance_of_a_large_image() -> None:
    y, x = np.ogrid[:3000, :4000]
    one, other = ((y - 1500) ** 2 + (x - 2000) ** 2 < radius**2 for radius in (1000, 1100))
    assert boundary_distance(one, other) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("limit", [400, 100, 70])
def test_of_a_long_border_some_pixels_stand_for_all(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Noted(KDTree):
        def query(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            asked.append(len(pixels))
            return super().query(pixels)

    monkeypatch.setattr("scipy.spatial.KDTree", Noted)
    monkeypatch.setattr("mbdcnn.metrics.masks.BORDER_PIXELS", limit)
    y, x = np.ogrid[:300, :300]
    one, other = ((y - 150) ** 2 + (x - 150) ** 2 < radius**2 for radius in (100, 110))
    assert boundary_distance(one, other) == pytest.approx(10, abs=1)
    assert len(asked) == 2
    assert limit / 2 <= min(asked) <= max(asked) <= limit


def test_counts_do_not_overflow_on_a_large_image() -> None:
    everything = np.ones((5000, 5000), bool)
    assert mask_metrics(everything, everything)["true_positives"] == 25_000_000


def test_thresholded_jaccard() -> None:
    assert [thresholded_jaccard(value) for value in (0.0, 0.6499, 0.65, 0.9)] == [0.0, 0.0, 0.65, 0.9]
    assert math.isnan(thresholded_jaccard(math.nan))
