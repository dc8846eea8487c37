"""How numbers and names are put into words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mbdcnn.artifacts import Report

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


def score_lines(report: Report) -> list[str]:
    """Give the headline of a report for the terminal, with 95 % intervals."""
    metrics = report.metrics
    lines = []
    if metrics["segmentation"]:
        for network in ("coarse", "enhanced"):
            lines.append(f"{network:<8} Jaccard {_with_interval(metrics['segmentation'][network]['jaccard'])}")
    if metrics["classification"]:
        lines.append(f"classes  mean AUC {_with_interval(metrics['classification']['mean_auc'])}")
    if "caution" in metrics.get("facts", {}):
        lines.append(f"caution  {metrics['facts']['caution']}")
    return lines


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not applicable"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f}  (95 % interval {estimate['low']:.3f}-{estimate['high']:.3f})"
