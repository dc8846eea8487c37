"""The sentence that every view of a prediction shares."""

from __future__ import annotations

import pytest

from mbdcnn.artifacts.calibration import Estimate, OperatingPoint
from mbdcnn.inference.answer import answer


def point(
    threshold: float, sensitivity: float = 0.802, specificity: float = 0.632, name: str = "melanoma"
) -> OperatingPoint:
    return OperatingPoint(
        name=f"{name} at {threshold}",
        class_name=name,
        target=sensitivity,
        threshold=threshold,
        threshold_interval=(0, 1),
        sensitivity=Estimate(sensitivity, 0, 1),
        specificity=Estimate(specificity, 0, 1),
    )


STRICT, WIDE = point(0.132), point(0.0515, 0.952, 0.347)
AT_80 = "at which 80 % of melanomas and 37 % of others are flagged"
AT_95 = "at which 95 % of melanomas and 65 % of others are flagged"


def of_melanoma(value: float, *points: OperatingPoint) -> str:
    return answer({"nevus": 1 - value, "melanoma": value, "seborrheic_keratosis": 0.0}, points)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.155, f"melanoma 16 %: above the threshold (13 %) {AT_80}; most probable: nevus 84 %"),
        (0.132, f"melanoma 13.20 %: above the threshold (13.20 %) {AT_80}; most probable: nevus 87 %"),
        (0.134, f"melanoma 13.4 %: above the threshold (13.2 %) {AT_80}; most probable: nevus 87 %"),
        (0.131, f"melanoma 13 %: above the threshold (5 %) {AT_95}; most probable: nevus 87 %"),
        (0.051, f"melanoma 5.10 %: below the lowest threshold (5.15 %) {AT_95}; most probable: nevus 95 %"),
        (0.0, f"melanoma 0 %: below the lowest threshold (5 %) {AT_95}; most probable: nevus 100 %"),
        (0.9, f"melanoma 90 %: above the threshold (13 %) {AT_80}; most probable: melanoma 90 %"),
    ],
)
def test_the_flag_comes_first_with_its_threshold(value: float, said: str) -> None:
    assert of_melanoma(value, STRICT, WIDE) == of_melanoma(value, WIDE, STRICT) == said


def test_one_threshold_is_not_the_lowest() -> None:
    assert of_melanoma(0.1, STRICT) == f"melanoma 10 %: below the threshold (13 %) {AT_80}; most probable: nevus 90 %"


def test_without_operating_points_the_probabilities_stand_alone() -> None:
    assert of_melanoma(0.85) == "melanoma 85 %, nevus 15 %, seborrheic keratosis 0 %"


def test_each_class_that_has_operating_points_is_named() -> None:
    said = of_melanoma(0.2, STRICT, point(0.4, 0.9, 0.7, "seborrheic_keratosis"))
    assert said == (
        f"melanoma 20 %: above the threshold (13 %) {AT_80}; seborrheic keratosis 0 %: below the threshold (40 %) "
        "at which 90 % of seborrheic keratosis cases and 30 % of others are flagged; most probable: nevus 80 %"
    )
