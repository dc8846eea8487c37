"""What the networks give, made into a prediction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts.calibration import Calibration
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import Prediction, Uncertainty
from mbdcnn.inference.probabilities import softmax
from mbdcnn.inference.protocol import Outcome, resize_mask


def interpret(
    outcome: Outcome,
    classes: tuple[str, ...],
    protocol: ProtocolName,
    calibration: Calibration | None,
    ood_score: float | None,
) -> Prediction:
    """Turn what the networks give for one image into a prediction."""
    views = softmax(outcome.view_logits, calibration.temperature if calibration else 1.0)
    probabilities = views.mean(axis=0)
    by_class = _by_class(classes, probabilities)
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
        ood_score=ood_score,
        uncalibrated=None if calibration is None else _by_class(classes, softmax(outcome.view_logits).mean(axis=0)),
    )


def _by_class(classes: tuple[str, ...], probabilities: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(classes, map(float, probabilities), strict=True))


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
