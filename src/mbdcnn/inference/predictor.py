"""The friendly door: a picture in, a `Prediction` out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts import Bundle
from mbdcnn.calibration import Calibration
from mbdcnn.config import Data
from mbdcnn.data.crops import least_side
from mbdcnn.data.images import Decoded, decode_at_least, decode_opened
from mbdcnn.errors import UserError
from mbdcnn.inference.calibration import softmax
from mbdcnn.inference.familiarity import FILE, Familiarity, Looks
from mbdcnn.inference.hub import find_model, push_model
from mbdcnn.inference.overlay import COARSE, heat, outline, shrink
from mbdcnn.inference.protocol import (
    Core,
    Inputs,
    Outcome,
    ProtocolName,
    inputs_of_picture,
    resize_mask,
    run_protocol,
)
from mbdcnn.inference.runtimes import RuntimeChoice, load_core
from mbdcnn.shipped import bundled_model
from mbdcnn.threads import THREADS, in_order

Item = TypeVar("Item")
Result = TypeVar("Result")
Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
BATCH = 8
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
    """Activation map of the most probable class, 1/16 of the network's side; at most 1."""
    probabilities: dict[str, float]
    """By class name; they add up to 1. Calibrated where the bundle is."""
    uncertainty: Uncertainty
    protocol: ProtocolName
    decisions: dict[str, bool] = field(default_factory=dict)
    """For each operating point, such as `melanoma at 80% sensitivity`, whether it is reached; none without
    calibration."""
    unfamiliarity: float | None = None
    """How strange the picture is to the model: 1 is passed by 1 % of pictures of the usual kind; None where the bundle
    does not know what is usual."""
    picture: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    """What was looked at, small and in RGB, for a notebook to show; None where many are predicted together."""

    def _repr_html_(self) -> str:
        from mbdcnn.inference.notebook import as_html

        return as_html(self)

    @property
    def decision(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

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
            "probabilities": {name: round(value, 6) for name, value in self.probabilities.items()},
            "decision": self.decision,
            "decisions": self.decisions,
            "unfamiliarity": None if self.unfamiliarity is None else round(self.unfamiliarity, 6),
            "looks_like_dermoscopy": self.looks_like_dermoscopy,
            "area_fraction": round(self.area_fraction, 6),
            "bounding_box": None if box is None else box._asdict(),
            "uncertainty": self.uncertainty._asdict(),
            "width": self.mask.shape[1],
            "height": self.mask.shape[0],
            "protocol": self.protocol,
        }


class Predictor:
    """A model ready to look at pictures.

    Args:
        core: what runs the networks.
        bundle: where classes and preprocessing come from.
    """

    def __init__(self, core: Core, bundle: Bundle) -> None:
        self.core = core
        self.bundle = bundle
        self.classes = bundle.config.classes
        file = bundle.path / FILE
        self.familiarity = Familiarity.load(file) if file.name in bundle.provenance.files else None

    @classmethod
    def load(cls, model: str | Path | None = None, *, device: str = "auto", runtime: RuntimeChoice = "torch") -> Self:
        """Read a bundle.

        Args:
            model: the bundle's folder; the model that comes with the package if not given.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            runtime: what runs the networks. All but `torch` work on the CPU and need the extra `export`. `auto` is the
                fastest of those installed that agree with torch, which takes some seconds to find out the first time.

        Raises:
            UserError: it is not a whole bundle, none comes with the package, or the device or the runtime is not there.
        """
        bundle = Bundle.open(bundled_model() if model is None else model, verify=True)
        if runtime == "auto":
            from mbdcnn.inference.choice import fastest_runtime

            runtime = fastest_runtime(bundle, device)
        return cls(load_core(bundle, runtime, device), bundle)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        runtime: RuntimeChoice = "torch",
    ) -> Self:
        """Read a bundle from a folder, or by its name on the Hugging Face hub.

        Args:
            model: a folder, or a name such as `owner/name`, which needs the extra `hub`. What was fetched once is there
                without a network too.
            revision: branch, tag or commit on the hub; the newest if not given.
            device: as for `load`.
            runtime: as for `load`.

        Raises:
            UserError: as for `load`, or it is neither a folder nor on the hub.
        """
        return cls.load(find_model(model, revision), device=device, runtime=runtime)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the bundle to a folder that the hub takes as it is; a bundle there is replaced.

        Raises:
            UserError: something else lies there.
        """
        return self.bundle.copy_to(folder).path

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Put the bundle on the Hugging Face hub and give its revision there. Needs the extra `hub`.

        Args:
            name: `owner/name`; made if it is not there.
            private: who may see it, if it is made.

        Raises:
            UserError: the hub cannot be reached or does not let you.
        """
        return push_model(self.bundle, name, private=private)

    def predict(self, picture: Picture, protocol: ProtocolName = "fast") -> Prediction:
        """Outline and classify the lesion in one picture: a file, its bytes, a PIL image or an RGB array.

        Raises:
            UserError: the picture cannot be read.
        """
        decoded = as_picture(picture, self.bundle.config.data)
        inputs = inputs_of_picture(decoded, self.bundle.config.data, protocol)
        shown = np.asarray(shrink(decoded.image, SHOWN_SIDE))
        return replace(next(self.predict_inputs([inputs], protocol)), picture=shown)

    def predict_inputs(self, inputs: list[Inputs], protocol: ProtocolName) -> Iterator[Prediction]:
        """Predict pictures that are already resampled, in one batch; give the large results one by one."""
        for picture, outcome in zip(inputs, run_protocol(self.core, inputs, protocol), strict=True):
            yield self._prediction(picture, outcome, protocol)

    def predict_stream(
        self,
        items: Iterable[Item],
        read: Callable[[Item], Inputs | None],
        finish: Callable[[Item, Prediction | None], Result],
        protocol: ProtocolName,
    ) -> Iterator[Result]:
        """Predict any number of pictures: threads read them and finish their results while the networks run.

        Args:
            items: what stands for the pictures.
            read: gives a picture resampled, or None to leave it out; on another thread.
            finish: makes a result of a prediction, or of None for a picture left out; on another thread.
            protocol: how the networks look at them.
        """

        def outcomes() -> Iterator[tuple[Item, Inputs | None, Outcome | None]]:
            for batch in batches(in_order(lambda item: (item, read(item)), items, 2 * BATCH)):
                inputs = [picture for _, picture in batch if picture is not None]
                found = iter(run_protocol(self.core, inputs, protocol) if inputs else ())
                for item, picture in batch:
                    yield item, picture, None if picture is None else next(found)

        def result(each: tuple[Item, Inputs | None, Outcome | None]) -> Result:
            item, picture, outcome = each
            if picture is None or outcome is None:
                return finish(item, None)
            return finish(item, self._prediction(picture, outcome, protocol))

        return in_order(result, outcomes(), THREADS + 1)

    def _prediction(self, picture: Inputs, outcome: Outcome, protocol: ProtocolName) -> Prediction:
        unfamiliarity = self._unfamiliarity(picture, outcome)
        return _prediction(outcome, self.classes, protocol, self.bundle.calibration(protocol), unfamiliarity)

    def _unfamiliarity(self, picture: Inputs, outcome: Outcome) -> float | None:
        if self.familiarity is None:
            return None
        if outcome.embedding.shape != self.familiarity.features.mean.shape:
            raise UserError(f"{self.bundle.path / FILE}: of another network than the bundle's; make the bundle again")
        return float(self.familiarity.scores(Looks.at(outcome.embedding[None], picture.patches[:1]))[0])


def as_picture(picture: Picture, settings: Data) -> Decoded:
    """Decode a file, its bytes, an image or an array h w 3, to no more pixels than these settings need.

    Raises:
        UserError: it is none of these, or cannot be read.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise UserError(f"an array of {picture.dtype} {picture.shape}: expected uint8, height x width x 3, RGB")
        return Decoded.whole(Image.fromarray(picture))
    if isinstance(picture, Image.Image):
        return Decoded.whole(decode_opened(picture))
    return decode_at_least(Path(picture) if isinstance(picture, str) else picture, least_side(settings))


def batches(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def overlay(picture: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Draw the coarse and the final outline on the picture, which may have been made smaller."""
    drawn = outline(np.asarray(picture), resize_mask(prediction.coarse_mask, *picture.size), COARSE)
    return outline(drawn, resize_mask(prediction.mask, *picture.size))


def cam_overlay(picture: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Lay the activation map over a picture."""
    return heat(np.asarray(picture), prediction.cam)


def _prediction(
    outcome: Outcome,
    classes: tuple[str, ...],
    protocol: ProtocolName,
    calibration: Calibration | None,
    unfamiliarity: float | None,
) -> Prediction:
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
        probabilities=by_class,
        uncertainty=_uncertainty(views, probabilities, lesion),
        protocol=protocol,
        decisions={point.name: by_class[point.class_name] >= point.threshold for point in points},
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
