"""The answer in a sentence, what is flagged first; the same wherever a prediction is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbdcnn.artifacts.calibration import OperatingPoint


def answer(probabilities: Mapping[str, float], points: Sequence[OperatingPoint] = ()) -> str:
    """Say where each class that has operating points lies, then which class is the most probable.

    Without operating points it is all probabilities, the highest first.
    """
    ranked = sorted(probabilities, key=lambda name: -probabilities[name])
    named = dict.fromkeys(point.class_name for point in points)
    if not named:
        return ", ".join(f"{words(name)} {percent(probabilities[name])}" for name in ranked)
    flags = [_flag(name, probabilities[name], [each for each in points if each.class_name == name]) for name in named]
    return "; ".join([*flags, f"most probable: {words(ranked[0])} {percent(probabilities[ranked[0]])}"])


def words(name: str) -> str:
    """Give the name of a class as it is read."""
    return name.replace("_", " ")


def cases_of(name: str) -> str:
    """Name the images of a class: melanomas, nevus cases."""
    return f"{words(name)}s" if name.endswith("oma") else f"{words(name)} cases"


def percent(value: float, digits: int = 0) -> str:
    """Give a fraction in per cent."""
    return f"{100 * value:.{digits}f} %"


def _flag(name: str, value: float, points: Sequence[OperatingPoint]) -> str:
    """Name the highest threshold that is reached; if none is, the lowest."""
    reached = [point for point in points if value >= point.threshold]
    lowest_first = sorted(reached or points, key=lambda point: point.threshold)
    point = lowest_first[-1 if reached else 0]
    side = "above the threshold" if reached else "below the lowest threshold" if points[1:] else "below the threshold"
    # As many digits as tell the two apart: `13 %, above 13 %` would read like a mistake.
    digits = next((few for few in range(3) if percent(value, few) != percent(point.threshold, few)), 2)
    return (
        f"{words(name)} {percent(value, digits)}: {side} ({percent(point.threshold, digits)}) at which "
        f"{percent(point.sensitivity.value)} of {cases_of(name)} and {percent(1 - point.specificity.value)} of others "
        "are flagged"
    )
