"""Where results come from that are scored: a model that is run, or files that another method left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.artifacts.manifest import Row
from mbdcnn.evaluation.activation import focus
from mbdcnn.evaluation.image_score import ImageScore
from mbdcnn.evaluation.skin import typology_angle
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Predictor, batches
from mbdcnn.inference.protocol import Inputs, inputs_of_row, resize_mask
from mbdcnn.metrics.masks import MaskMetrics, mask_metrics
from mbdcnn.system.progress import Progress

BoolMask = npt.NDArray[np.bool_]


class Result(NamedTuple):
    """What a method makes of one image; None for what it does not give. Masks have the image's size."""

    probabilities: tuple[float, ...] | None = None
    mask: BoolMask | None = None
    coarse_mask: BoolMask | None = None
    uncalibrated: tuple[float, ...] | None = None
    activation_map: npt.NDArray[np.float32] | None = None
    cam_class: str | None = None
    """Which class the activation map is of."""

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """Take just what a user is shown."""
        before = prediction.uncalibrated
        return cls(
            probabilities=tuple(prediction.probabilities.values()),
            mask=prediction.mask,
            coarse_mask=prediction.coarse_mask,
            uncalibrated=None if before is None else tuple(before.values()),
            activation_map=prediction.cam,
            cam_class=prediction.cam_class,
        )


class Method(Protocol):
    """Gives results, one image after the other, so that no more than a few are in memory."""

    @property
    def thresholds(self) -> tuple[OperatingPoint, ...]:
        """Operating points."""

    def results(self, data: PreparedData, rows: Sequence[Row]) -> Iterator[Result]:
        """Give the result of each row."""


@dataclass(frozen=True)
class ModelMethod:
    """A model, run by one of the two protocols."""

    predictor: Predictor
    protocol: ProtocolName

    @property
    def thresholds(self) -> tuple[OperatingPoint, ...]:
        """Operating points of the model, for the protocol."""
        return self.predictor.bundle.operating_points(self.protocol)

    def results(self, data: PreparedData, rows: Sequence[Row]) -> Iterator[Result]:
        """Run the networks on prepared images, a few at a time."""
        settings = self.predictor.bundle.config.data
        for batch in batches(rows):
            yield from self.results_of([inputs_of_row(data, row, settings) for row in batch])

    def results_of(self, inputs: Sequence[Inputs]) -> Iterator[Result]:
        """Run the networks on images that are already resampled."""
        # Mapped, so that nothing holds on to a prediction's full-size probabilities.
        return map(Result.of, self.predictor.predict_inputs(list(inputs), self.protocol))


def score_rows(method: Method, data: PreparedData, rows: Sequence[Row], progress: Progress) -> list[ImageScore]:
    """Score results against the truth, keeping a few numbers of each image."""
    scores: list[ImageScore] = []
    for row, result in zip(rows, method.results(data, rows), strict=True):
        truth = data.truth(row) if row.has_mask else None
        scores.append(_image_score(data, row, result, truth))
        progress(len(scores), len(rows))
    return scores


def _image_score(data: PreparedData, row: Row, result: Result, truth: BoolMask | None) -> ImageScore:
    return ImageScore(
        id=row.id,
        width=row.width,
        height=row.height,
        label=row.label,
        probabilities=result.probabilities,
        enhanced=_mask_score(result.mask, truth),
        coarse=_mask_score(result.coarse_mask, truth),
        patient=row.patient,
        uncalibrated=result.uncalibrated,
        lesion_fraction=None if truth is None else float(truth.mean()),
        source=source_folder(row),
        skin_tone=None if truth is None else _skin_tone(data, row, truth),
        focus=None if truth is None or result.activation_map is None else focus(result.activation_map, truth),
    )


def source_folder(row: Row) -> str:
    """Give the folder an image came from, above folders that are named after the image."""
    parts = row.source.replace("\\", "/").split("/")[:-1]
    while parts and (parts[-1] == row.id or parts[-1].startswith(f"{row.id}_")):
        parts.pop()
    return "/".join(parts)


def _mask_score(mask: BoolMask | None, truth: BoolMask | None) -> MaskMetrics | None:
    return None if mask is None or truth is None else mask_metrics(mask, truth)


def _skin_tone(data: PreparedData, row: Row, truth: BoolMask) -> float | None:
    image = data.patches[row.views[0]]
    return typology_angle(np.asarray(image), resize_mask(truth, *image.shape[1::-1]))
