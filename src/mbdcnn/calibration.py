"""What a bundle says of its class probabilities: temperature and operating points."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class OperatingPoint(BaseModel):
    """A threshold on one class's probability; at it and above, the picture counts as a case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Such as `melanoma at 80% sensitivity`."""
    class_name: str
    target: float
    """Sensitivity it was chosen for."""
    threshold: float
    threshold_interval: tuple[float, float]
    """The middle 95 % of the thresholds that redrawn images give."""
    sensitivity: Estimate
    """At the threshold, on the images it was chosen on."""
    specificity: Estimate


class Calibration(BaseModel):
    """How one protocol's class probabilities are calibrated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float
    """Divides the class logits of each view before the softmax."""
    operating_points: tuple[OperatingPoint, ...]
    images: int
    """How many images it rests on."""
    source: str
    """Which images these are."""
    note: str | None = None
    """Why there are no operating points, where there are none."""
