"""What all settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Fifths = Annotated[float, Field(gt=0, le=5)]
Positive = Annotated[int, Field(ge=1)]
Shares = dict[str, Annotated[float, Field(gt=0, le=1)]]
# What an untrusted model may ask of the machine that loads it.
Width = Annotated[float, Field(gt=0, le=8)]
Depth = Annotated[int, Field(ge=1, le=256)]
LARGEST_SIDE = 4096


def _multiple_of_16(side: int) -> int:
    if side % 16 or side <= 0:
        raise ValueError(f"{side} is not a positive multiple of 16, the networks' output stride")
    if side > LARGEST_SIDE:
        raise ValueError(f"{side} is more than {LARGEST_SIDE}")
    return side


Side = Annotated[int, AfterValidator(_multiple_of_16)]
Duration = Annotated[str, Field(pattern=r"^[1-9]\d* (epoch|step)s?$")]


def in_steps(duration: str, steps_per_epoch: int) -> int:
    """Turn a duration such as `3 epochs` or `100 steps` into optimiser steps."""
    count, unit = duration.split()
    return int(count) * (steps_per_epoch if unit.startswith("epoch") else 1)


class Section(BaseModel):
    """Part of a configuration: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
