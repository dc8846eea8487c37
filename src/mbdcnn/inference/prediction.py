"""What the model makes of one picture, and how a notebook shows it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts.calibration import Calibration, OperatingPoint
from mbdcnn.inference.answer import answer, words
from mbdcnn.inference.overlay import COARSE, HEAT_GRADIENT, heat, outline, shrink
from mbdcnn.inference.probabilities import softmax
from mbdcnn.inference.protocol import (
    Outcome,
    ProtocolName,
    resize_mask,
)
from mbdcnn.system.templates import render

SHOWN_SIDE = 480
"""Longer side of the picture that a prediction keeps to show itself."""


class BoundingBox(NamedTuple):
    """Smallest upright rectangle round the lesion, in pixels; right and lower edge exclusive."""

    left: int
    upper: int
    right: int
    lower: int


class Uncertainty(NamedTuple):
    """How unsure the model is, each from 0 (sure) to 1."""

    entropy: float
    """Of the class probabilities, as a fraction of the largest possible."""
    outline: float
    """Share of the lesion's pixels, predicted or possible, with a lesion probability between 0.2 and 0.8."""
    disagreement: float | None
    """Mean distance of the views' class probabilities from their average; None with a single view."""


@dataclass(frozen=True)
class Prediction:
    """What the model makes of one picture. For research; not a medical device."""

    mask: npt.NDArray[np.bool_]
    """The lesion, height x width of the picture."""
    mask_probability: npt.NDArray[np.float32]
    """Probability of lesion for each pixel."""
    coarse_mask: npt.NDArray[np.bool_]
    """coarse-SN's rough outline, height x width of the picture."""
    cam: npt.NDArray[np.float32]
    """Activation map of `cam_class`, 1/16 of the network's side; at most 1."""
    cam_class: str
    """The class that is most probable in the whole picture; with several views it may not be the decision."""
    probabilities: dict[str, float]
    """By class name; they add up to 1. Calibrated where the bundle is."""
    uncertainty: Uncertainty
    protocol: ProtocolName
    decisions: dict[str, bool] = field(default_factory=dict)
    """For each operating point, such as `melanoma at 80% sensitivity`, whether it is reached; none without
    calibration."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds behind `decisions`."""
    unfamiliarity: float | None = None
    """How strange the picture is to the model: 1 is passed by 1 % of pictures of the usual kind; None where the bundle
    does not know what is usual."""
    picture: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    """What was looked at, small and in RGB, for a notebook to show; None where many are predicted together."""

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def decision(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def answer(self) -> str:
        """The answer in a sentence: what is flagged first, and at which threshold."""
        return answer(self.probabilities, self.operating_points)

    @property
    def looks_like_dermoscopy(self) -> bool | None:
        """Whether the picture is of the kind the model learnt from; None where the bundle does not know."""
        return None if self.unfamiliarity is None else self.unfamiliarity <= 1

    @cached_property
    def bounding_box(self) -> BoundingBox | None:
        """The box round the lesion; None where no lesion was found."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        return BoundingBox(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    @cached_property
    def area_fraction(self) -> float:
        """Share of the picture that is lesion."""
        return float(self.mask.mean())

    def to_dict(self) -> dict[str, Any]:
        """Give all but the maps, ready for JSON."""
        box = self.bounding_box
        return {
            "answer": self.answer,
            "probabilities": {name: round(value, 6) for name, value in self.probabilities.items()},
            "decision": self.decision,
            "decisions": self.decisions,
            "unfamiliarity": None if self.unfamiliarity is None else round(self.unfamiliarity, 6),
            "looks_like_dermoscopy": self.looks_like_dermoscopy,
            "area_fraction": round(self.area_fraction, 6),
            "bounding_box": None if box is None else box._asdict(),
            "uncertainty": self.uncertainty._asdict(),
            "cam_class": self.cam_class,
            "width": self.mask.shape[1],
            "height": self.mask.shape[0],
            "protocol": self.protocol,
        }


def overlay(picture: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Draw the coarse and the final outline on the picture, which may have been made smaller."""
    drawn = outline(np.asarray(picture), resize_mask(prediction.coarse_mask, *picture.size), COARSE)
    return outline(drawn, resize_mask(prediction.mask, *picture.size))


def cam_overlay(picture: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Lay the activation map over a picture, and draw the final outline on it."""
    return outline(heat(np.asarray(picture), prediction.cam), resize_mask(prediction.mask, *picture.size))


def interpret(
    outcome: Outcome,
    classes: tuple[str, ...],
    protocol: ProtocolName,
    calibration: Calibration | None,
    unfamiliarity: float | None,
) -> Prediction:
    """Turn what the networks give for one picture into a prediction."""
    views = softmax(outcome.view_logits, calibration.temperature if calibration else 1.0)
    probabilities = views.mean(axis=0)
    by_class = dict(zip(classes, map(float, probabilities), strict=True))
    points = calibration.operating_points if calibration else ()
    logits = outcome.lesion_logits()
    mask = logits > 0
    lesion = _sigmoid(logits)
    return Prediction(
        mask=mask,
        mask_probability=lesion,
        coarse_mask=resize_mask(outcome.coarse_mask, outcome.width, outcome.height),
        cam=outcome.activation_map,
        cam_class=classes[outcome.mapped_class],
        probabilities=by_class,
        uncertainty=_uncertainty(views, probabilities, lesion),
        protocol=protocol,
        decisions={point.name: by_class[point.class_name] >= point.threshold for point in points},
        operating_points=points,
        unfamiliarity=unfamiliarity,
    )


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn logits into probabilities, in their own memory: at full size they take hundreds of megabytes."""
    np.clip(logits, -60, 60, out=logits)
    np.exp(np.negative(logits, out=logits), out=logits)
    np.add(logits, 1, out=logits)
    return np.reciprocal(logits, out=logits)


def _uncertainty(
    views: npt.NDArray[np.float64], probabilities: npt.NDArray[np.float64], lesion: npt.NDArray[np.float32]
) -> Uncertainty:
    entropy = -float(np.sum(probabilities * np.log(np.maximum(probabilities, 1e-12)))) / np.log(len(probabilities))
    possible = int(np.count_nonzero(lesion > 0.2))
    unsure = int(np.count_nonzero((lesion > 0.2) & (lesion < 0.8)))
    apart = float(np.abs(views - probabilities).sum(axis=1).mean() / 2) if len(views) > 1 else None
    return Uncertainty(round(float(entropy), 6), unsure / possible if possible else 0.0, apart)


NOTICE = "For research and education. Not a medical device."


def as_html(prediction: Prediction) -> str:
    """Show outlines, activation map, probabilities, decisions and the notice; needs nothing from elsewhere."""
    picture = _shown(prediction)
    figures = {
        "outlines: coarse amber, final blue": _data_uri(overlay(picture, prediction)),
        f"activation map of {words(prediction.cam_class)}, with the final outline": _data_uri(
            cam_overlay(picture, prediction)
        ),
    }
    values = {
        **{"prediction": prediction, "figures": figures, "words": words, "notice": NOTICE, "heat": HEAT_GRADIENT},
        "thresholds": [(point.class_name, point.threshold) for point in prediction.operating_points],
    }
    return render("mbdcnn.inference", "prediction.html.j2", values)


def _shown(prediction: Prediction) -> Image.Image:
    """Give the picture; of a prediction that has none, the lesion's probability in shades of grey."""
    if prediction.picture is not None:
        return Image.fromarray(prediction.picture)
    grey = Image.fromarray((prediction.mask_probability * 255).astype(np.uint8))
    return shrink(grey.convert("RGB"), SHOWN_SIDE)


def _data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
