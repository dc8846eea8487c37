"""How numbers and names are put into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Estimate: TypeAlias = Mapping[str, Any]
"""`{value, low, high}` as fractions; low and high are None without an interval."""


def percent(value: int | float, signed: bool = False) -> str:
    """Give a fraction in per cent with one decimal."""
    return f"{100 * value:{'+' if signed else ''}.1f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, signed: bool = False) -> str:
    """Give an estimate's bounds in per cent; nothing if it has none."""
    if estimate["low"] is None:
        return ""
    return f"{percent(estimate['low'], signed)} to {percent(estimate['high'], signed)}"


def class_name(name: str) -> str:
    """Give a class's name as it is read."""
    return name.replace("_", " ")
