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
    return number(value, signed, 100)


def number(value: int | float, signed: bool = False, scale: float = 1) -> str:
    """Give a number, times a scale, with one decimal."""
    text = f"{scale * value:{'+' if signed else ''}.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0").replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, signed: bool = False, scale: float = 100) -> str:
    """Give an estimate's bounds, in per cent if not told otherwise; nothing if it has none."""
    if estimate["low"] is None:
        return ""
    return f"{number(estimate['low'], signed, scale)} to {number(estimate['high'], signed, scale)}"


def score_lines(report: Report) -> list[str]:
    """Give the headline of a report for the terminal, with 95 % intervals."""
    metrics = report.metrics
    lines = []
    if metrics["segmentation"]:
        for network in ("coarse", "enhanced"):
            if metrics["segmentation"][network]:
                name = "masks" if network == "enhanced" and "predictions" in metrics.get("facts", {}) else network
                lines.append(f"{name:<8} Jaccard {_with_interval(metrics['segmentation'][network]['jaccard'])}")
    if metrics["classification"]:
        lines.append(f"classes  mean AUC {_with_interval(metrics['classification']['mean_auc'])}")
    if metrics.get("activation_maps"):
        inside, hits = (
            metrics["activation_maps"][f"cam_{name}"]["mean"] for name in ("energy_inside", "pointing_game")
        )
        lines.append(f"maps     energy inside the lesion {_with_interval(inside)}, peak {_with_interval(hits)}")
    if "comparison" in metrics:
        lines += comparison_lines(metrics["comparison"])
    if "stress" in metrics:
        lines.append(_worst_corruption(metrics["stress"]))
    if "caution" in metrics.get("facts", {}):
        lines.append(f"caution  {metrics['facts']['caution']}")
    return lines


def comparison_lines(comparison: Mapping[str, Any]) -> list[str]:
    """Set another model's scores beside this one's, and say which is better where chance does not explain it."""
    lines = [f"compared with {comparison['second_name']}, and its score less this one's on the same images:"]
    for score, name in (("enhanced_jaccard", "Jaccard"), ("mean_auc", "mean AUC")):
        difference = comparison["difference"].get(score)
        if difference is not None:
            other = comparison["second"][score]["value"]
            lines.append(f"         {name} {other:.3f}, {_with_interval(difference, '+')}: {_verdict(difference)}")
    return lines


def _verdict(difference: Estimate) -> str:
    if difference["low"] is None:
        return "not enough images to tell which is better"
    if difference["low"] > 0:
        return "the other one is better by more than chance"
    return "this one is better by more than chance" if difference["high"] < 0 else "no difference beyond chance"


def _worst_corruption(stress: Mapping[str, Any]) -> str:
    falls = [
        (level["difference"]["jaccard"]["value"], corruption["name"])
        for corruption in stress["corruptions"]
        for level in corruption["levels"]
        if level["difference"]["jaccard"]
    ]
    if not falls:
        return "stress   see the report"
    fall, name = min(falls)
    return f"stress   largest change of Jaccard {fall:+.3f}, by {name}"


def _with_interval(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return "not applicable"
    if estimate["low"] is None:
        return f"{estimate['value']:{sign}.3f}"
    between = " to " if sign else "-"
    value, low, high = (f"{estimate[key]:{sign}.3f}" for key in ("value", "low", "high"))
    return f"{value}  (95 % interval {low}{between}{high})"
