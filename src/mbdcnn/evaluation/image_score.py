"""What is known of one image after prediction: the row of `per_image.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.evaluation.activation import HITS, Focus
from mbdcnn.inference.tables import as_cell
from mbdcnn.metrics.masks import MaskMetrics, official
from mbdcnn.system.tables import write_table

OFFICIAL = ("jaccard", "dice", "sensitivity", "specificity")
"""Scores of masks that have a second column in which 0/0 is 1."""


class ImageScore(NamedTuple):
    """What is known of one image. None where truth or prediction is missing."""

    id: str
    width: int
    height: int
    label: int | None = None
    probabilities: tuple[float, ...] | None = None
    enhanced: MaskMetrics | None = None
    coarse: MaskMetrics | None = None
    patient: str | None = None
    uncalibrated: tuple[float, ...] | None = None
    """Probabilities before calibration."""
    lesion_fraction: float | None = None
    """Share of the image that is lesion, by the truth."""
    source: str = ""
    """Folder that the image came from."""
    skin_tone: float | None = None
    """Individual typology angle of the skin round the lesion, in degrees."""
    focus: Focus | None = None
    """Whether the classifier's activation map lies on the lesion."""


def write_per_image_csv(path: Path, scores: Sequence[ImageScore], classes: Sequence[str]) -> None:
    """Write one row an image; a cell is empty where nothing is known."""
    rows = [_csv_row(score, classes) for score in scores]
    columns = dict.fromkeys(column for row in rows for column in row)
    write_table(path, list(columns), ([row.get(column) for column in columns] for row in rows))


def choose_cases(scores: Sequence[ImageScore], each: int = 3) -> dict[str, list[int]]:
    """Pick positions of the images worth showing: best, median and worst by Jaccard, none of them twice."""
    jaccards = np.array([score.enhanced["jaccard"] if score.enhanced else math.nan for score in scores])
    ranked = [int(i) for i in np.argsort(-jaccards, kind="stable") if not math.isnan(jaccards[i])]
    each = min(each, max(1, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    best, worst = ranked[:each], ranked[each:][-each:]
    median = [i for i in ranked[middle : middle + each] if i not in best + worst]
    chosen = {"Best": best, "Median": median, "Worst": worst[::-1]}
    return {heading: positions for heading, positions in chosen.items() if positions}


class Missed(NamedTuple):
    """Cases of a class that are not flagged."""

    class_name: str
    cases: int
    positions: list[int]
    """Which images they are, the least probable first."""
    point: OperatingPoint | None
    """The operating point that misses them; None where the most probable class is taken."""


def missed_cases(
    scores: Sequence[ImageScore], classes: Sequence[str], points: Sequence[OperatingPoint]
) -> list[Missed]:
    """Give the cases missed at each class's most sensitive operating point.

    Where there are no operating points, those of every class but the first for which another class is more probable.
    """
    # The last one of a class stays.
    by_class = {point.class_name: point for point in sorted(points, key=lambda point: -point.threshold)}
    found = []
    for name in by_class or classes[1:]:
        index, point = classes.index(name), by_class.get(name)
        known = {at: each.probabilities for at, each in enumerate(scores) if each.label == index and each.probabilities}
        low = [
            at for at, each in known.items()
            if (each[index] < point.threshold if point else int(np.argmax(each)) != index)
        ]  # fmt: skip
        found.append(Missed(name, len(known), sorted(low, key=lambda at: known[at][index]), point))
    return found


def _csv_row(score: ImageScore, classes: Sequence[str]) -> dict[str, str | int | float]:
    row: dict[str, Any] = {
        "id": score.id,
        "patient": score.patient,
        "source": score.source,
        "width": score.width,
        "height": score.height,
        "label": None if score.label is None else classes[score.label],
        "decision": classes[int(np.argmax(score.probabilities))] if score.probabilities else None,
        **_by_class("probability", score.probabilities, classes),
        **(_by_class("uncalibrated", score.uncalibrated, classes) if score.uncalibrated else {}),
        "lesion_fraction": score.lesion_fraction,
        "skin_tone_ita": score.skin_tone,
        **_focus_cells(score.focus),
        **_mask_cells("coarse", score.coarse),
        **_mask_cells("enhanced", score.enhanced),
    }
    return {name: "" if value is None or value != value else as_cell(value) for name, value in row.items()}


def _by_class(name: str, values: Sequence[float] | None, classes: Sequence[str]) -> dict[str, float | None]:
    return {f"{name}_{of}": value for of, value in zip(classes, values or (None,) * len(classes), strict=True)}


def _focus_cells(focus: Focus | None) -> dict[str, float | bool]:
    return {} if focus is None else {name: getattr(focus, name) for name in ("cam_energy_inside", *HITS)}


def _mask_cells(network: str, mask: MaskMetrics | None) -> dict[str, Any]:
    values: Mapping[str, Any] = mask or {}
    cells = {f"{network}_{name}": value for name, value in values.items()}
    return cells | {f"{network}_{name}_official": official(values[name]) for name in OFFICIAL if name in values}
