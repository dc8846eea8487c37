"""Temperature and operating points, fitted to class logits of images with known classes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts.calibration import Calibration, Estimate, OperatingPoint
from mbdcnn.config import Calibration as Settings
from mbdcnn.inference.probabilities import Floats, averaged_softmax
from mbdcnn.metrics.bootstrap import Counts, Resamples, Statistic, Statistics
from mbdcnn.metrics.bootstrap import Estimate as Bounded
from mbdcnn.metrics.estimators import ratio

TEMPERATURES = (0.05, 20.0)
"""Range that is searched. Few wrong decisions push the temperature down without bound."""
SAMPLES = 1000
"""Bootstrap resamples behind each interval."""


class Evidence(NamedTuple):
    """What the networks made of images whose class is known."""

    view_logits: Floats
    """Class logits of each view, n v k."""
    labels: npt.NDArray[np.int64]
    groups: Sequence[Hashable]
    """What is resampled as a whole: an image's patient, or the image itself."""


def calibrate(evidence: Evidence, classes: Sequence[str], settings: Settings, source: str, seed: int) -> Calibration:
    """Fit temperature and operating points.

    Args:
        evidence: logits and labels, best of networks that did not learn from the images.
        classes: names in the order of the logits.
        settings: class and sensitivities of the operating points.
        source: what the images are, in words.
        seed: of the bootstrap.
    """
    temperature = fit_temperature(evidence.view_logits, evidence.labels)
    points: tuple[OperatingPoint, ...] = ()
    note = None
    is_case = evidence.labels == (classes.index(settings.class_name) if settings.class_name in classes else -1)
    if settings.class_name not in classes:
        note = f"no operating points: {settings.class_name} is none of the classes {', '.join(classes)}"
    elif 0 < is_case.sum() < len(is_case):
        probabilities = averaged_softmax(evidence.view_logits, temperature)[:, classes.index(settings.class_name)]
        resamples = Resamples(len(is_case), SAMPLES, seed, evidence.groups)
        points = tuple(
            _operating_point(settings.class_name, target, probabilities, is_case, resamples)
            for target in settings.sensitivities
        )
    else:
        what = "cases" if not is_case.any() else "others than cases"
        note = f"no operating points: no {what} of {settings.class_name} among {len(is_case)} images"
    return Calibration(temperature=temperature, operating_points=points, images=len(is_case), source=source, note=note)


def fit_temperature(view_logits: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Find the temperature with the least cross-entropy of the softmax averaged over views.

    Args:
        view_logits: n v k.
        labels: n.
    """
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)

    def loss(log_temperature: float) -> float:
        probabilities = averaged_softmax(view_logits, math.exp(log_temperature))
        return -float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())

    # Averaging over views makes several minima possible, so the search starts beside the best of a grid.
    grid = np.linspace(low, high, 61)
    best = int(np.argmin([loss(value) for value in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def threshold_at(sensitivity: float, probabilities: Floats, weights: Floats) -> float:
    """Give the highest threshold at or above which lies at least this share of the cases, which are weighted."""
    order = np.argsort(-probabilities, kind="stable")
    found = np.cumsum(weights[order])
    # Weights are whole numbers; the slack is for targets such as 0.8 that have no exact binary form.
    return float(probabilities[order][np.searchsorted(found, sensitivity * found[-1] - 1e-9)])


def _operating_point(
    name: str, target: float, probabilities: Floats, is_case: npt.NDArray[np.bool_], resamples: Resamples
) -> OperatingPoint:
    threshold = threshold_at(target, probabilities[is_case], np.ones(int(is_case.sum())))
    above = probabilities >= threshold

    def statistics(counts: Counts) -> Statistics:
        cases = counts[:, is_case]
        # A resample without a case has no threshold.
        thresholds = [threshold_at(target, probabilities[is_case], row) if row.any() else np.nan for row in cases]
        return {
            ("threshold",): Statistic(np.array(thresholds)),
            ("sensitivity",): ratio(counts, above & is_case, is_case),
            ("specificity",): ratio(counts, ~above & ~is_case, ~is_case),
        }

    found = {names[0]: _estimate(estimate) for names, estimate in resamples.estimates(statistics).items()}
    return OperatingPoint(
        name=f"{name.replace('_', ' ')} at {100 * target:g}% sensitivity",
        class_name=name,
        target=target,
        threshold=threshold,
        threshold_interval=(found["threshold"].low, found["threshold"].high),
        sensitivity=found["sensitivity"],
        specificity=found["specificity"],
    )


def _estimate(estimate: Bounded | None) -> Estimate:
    # There are cases and others, and so a value, and so resamples with one.
    assert estimate is not None
    assert estimate["low"] is not None
    assert estimate["high"] is not None
    return Estimate(estimate["value"], estimate["low"], estimate["high"])
