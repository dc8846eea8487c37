"""What a bundle says of its class probabilities: temperature and operating points."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from mbdcnn.config import parse
from mbdcnn.errors import UserError


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class OperatingPoint(BaseModel):
    """A threshold on one class's probability; at it and above, the image counts as a case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Such as `melanoma at 80% sensitivity`."""
    class_name: str
    target: float
    """Sensitivity it was chosen for."""
    threshold: float
    threshold_interval: tuple[float, float]
    """The middle 95 % of the thresholds of the bootstrap resamples."""
    sensitivity: Estimate
    """At the threshold, on the images it was chosen on."""
    specificity: Estimate


class Calibration(BaseModel):
    """How one protocol's class probabilities are calibrated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Divides the class logits of each view before the softmax."""
    operating_points: tuple[OperatingPoint, ...]
    images: int
    """How many images it rests on."""
    source: str
    """Which images these are."""
    note: str | None = None
    """Why there are no operating points, where there are none."""


def read_calibration(facts: Any, protocol: str, classes: Collection[str], name: str) -> Calibration | None:
    """Give what a bundle's facts say of one protocol; None if nothing.

    Args:
        facts: calibrations by protocol.
        protocol: `fast` or `paper`.
        classes: of the bundle.
        name: what messages call the facts.

    Raises:
        UserError: they are not what a bundle holds.
    """
    said = facts.get(protocol) if isinstance(facts, dict) else facts
    if said is None:
        return None
    calibration = parse(Calibration, said, name)
    if not {point.class_name for point in calibration.operating_points} <= {*classes}:
        raise UserError(f"{name}: an operating point of a class that the bundle does not have; make the bundle again")
    return calibration
