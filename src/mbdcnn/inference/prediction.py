"""What the model makes of one image, how it is written, and how a notebook shows it."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.artifacts.calibration import OperatingPoint
from mbdcnn.errors import UserError
from mbdcnn.inference.answer import answer, words
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.overlay import COARSE, HEAT_GRADIENT, heat, outline, shrink, with_key
from mbdcnn.inference.prompts import CoarseMaskSource
from mbdcnn.inference.protocol import resize_mask
from mbdcnn.metrics.extent import Diameter, longest_diameter
from mbdcnn.system.files import disk_errors_as_user_errors, make_folder, replacing
from mbdcnn.system.templates import render

DRAWN_SIDE = 1600
"""Longer side of the copy of an image that is drawn on; masks keep the image's own size."""
SHOWN_SIDE = 480
"""Longer side of the images that a notebook shows."""


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
    """What the model makes of one image. For research; not a medical device."""

    mask: npt.NDArray[np.bool_]
    """The lesion, height x width of the image; area, diameter and box are its."""
    mask_probability: npt.NDArray[np.float32]
    """Probability of lesion for each pixel, by the model, whoever's the mask is."""
    coarse_mask: npt.NDArray[np.bool_]
    """The rough outline that guided the classifier, height x width of the image."""
    cam: npt.NDArray[np.float32]
    """Activation map of `cam_class`, 1/16 of the network's side; at most 1."""
    cam_class: str
    """The class that is most probable in the whole image; with several views it may not be the decision."""
    probabilities: dict[str, float]
    """By class name; they add up to 1. Calibrated where the bundle is."""
    uncertainty: Uncertainty
    protocol: ProtocolName
    decisions: dict[str, bool] = field(default_factory=dict)
    """For each operating point, such as `melanoma at 80% sensitivity`, whether it is reached; none without
    calibration."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """Thresholds behind `decisions`."""
    ood_score: float | None = None
    """Out-of-distribution score: 1 is exceeded by 1 % of images of the usual kind; None where the bundle
    does not know what is usual."""
    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    """A copy of the image to draw on, height x width x 3, RGB, the longer side at most 1600 pixels; None where none was
    kept."""
    uncalibrated: dict[str, float] | None = None
    """Probabilities as the networks give them, before calibration; None where the bundle is not calibrated."""
    coarse_mask_source: CoarseMaskSource = "model"
    """Whose `coarse_mask` it is: coarse-SN's, one that was given, or one that clicks or a box moved."""
    mask_source: CoarseMaskSource = "model"
    """Whose `mask` it is: enhanced-SN's, or, where `keep_outline` was asked for, that of the coarse mask."""
    model_mask: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    """The model's own final mask where `mask` is a person's; None where it is the model's."""
    pixel_spacing: tuple[float, float] | None = None
    """Height and width of a pixel in millimetres; None where the file does not say it."""
    file: str | None = None
    """Where the image was read from; None where it was given as pixels or bytes."""

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
    def unfamiliarity(self) -> float | None:
        """The former name of `ood_score`."""
        return self.ood_score

    @property
    def picture(self) -> npt.NDArray[np.uint8] | None:
        """The former name of `image`."""
        return self.image

    @property
    def looks_like_dermoscopy(self) -> bool | None:
        """Whether the image is of the kind the model learnt from; None where the bundle does not know."""
        return None if self.ood_score is None else self.ood_score <= 1

    @cached_property
    def bounding_box(self) -> BoundingBox | None:
        """The box round the lesion; None where no lesion was found."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        return BoundingBox(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    @cached_property
    def area_fraction(self) -> float:
        """Share of the image that is lesion."""
        return float(self.mask.mean())

    @cached_property
    def longest_diameter(self) -> Diameter | None:
        """The lesion's longest diameter in pixels, and its ends; None where no lesion was found."""
        return longest_diameter(self.mask)

    @cached_property
    def longest_diameter_millimetres(self) -> float | None:
        """The lesion's longest diameter in millimetres; None without a lesion or where the scale is not known."""
        found = None if self.pixel_spacing is None else longest_diameter(self.mask, self.pixel_spacing)
        return None if found is None else found.length

    @property
    def area_square_millimetres(self) -> float | None:
        """The lesion's area; None where the scale is not known."""
        if self.pixel_spacing is None:
            return None
        return int(np.count_nonzero(self.mask)) * self.pixel_spacing[0] * self.pixel_spacing[1]

    @property
    def final_mask(self) -> npt.NDArray[np.bool_]:
        """The model's own final mask, whoever's `mask` is."""
        return self.mask if self.model_mask is None else self.model_mask

    def keep_outline(self) -> Prediction:
        """Take the outline that a person gave or moved as the result: `mask`, and what is measured on it.

        Raises:
            UserError: the coarse mask is the model's own.
        """
        if self.coarse_mask_source == "model":
            raise UserError("keep_outline: nobody gave an outline; give a coarse mask, points or a box")
        return replace(self, mask=self.coarse_mask, mask_source=self.coarse_mask_source, model_mask=self.final_mask)

    def overlay(self) -> Image.Image:
        """Draw the coarse outline (amber) and the model's final one (blue) on `image`.

        Where none was kept they are drawn on the probability of lesion in shades of grey.
        """
        return Image.fromarray(overlay(_shown(self), self))

    def save(self, folder: str | Path, name: str | None = None) -> list[Path]:
        """Write both masks, the activation map over the image, the outlines, and what `to_dict` gives.

        Args:
            folder: made if it is not there; files of the same names are replaced.
            name: that of the image's file, without its ending, if not given; `image` where it came from none.

        Returns:
            `NAME_mask.png` and `NAME_coarse.png`, 1-bit, white on the lesion, of the image's own size; `NAME_cam.jpg`
            and `NAME_overlay.jpg`, of the size of `image`, the first with a key below; and `NAME.json`.

        Raises:
            UserError: the disk is full or cannot be written.
        """
        folder, name = Path(folder), name or self.name
        make_folder(folder)
        with disk_errors_as_user_errors(folder):
            written = write_maps(self, folder, name)
            with replacing(folder / f"{name}.json") as draft:
                draft.write_text(json.dumps({"file": self.file, **self.to_dict()}, indent=2) + "\n", encoding="utf-8")
        return [*written, folder / f"{name}.json"]

    @property
    def name(self) -> str:
        """The name of the image's file without its ending; `image` where it came from none."""
        return Path(self.file).stem if self.file else "image"

    def to_dict(self) -> dict[str, Any]:
        """Give all but the maps, ready for JSON.

        Returns:
            `answer` in a sentence; `probabilities` by class, from 0 to 1; `decision`, the most probable class;
            `decisions`, whether each operating point is reached; `ood_score`, 1 the most that is usual, and
            `looks_like_dermoscopy`, null where the model cannot tell; `coarse_mask_source`, whose coarse mask it was:
            `model`, `given` or `prompted`; `mask_source`, the same of the mask that is measured; `area_fraction`, the
            lesion's share of the image, and `area_pixels`;
            `longest_diameter` in `pixels` with its `ends` and in `millimetres`, null without a lesion;
            `pixel_spacing`, height and width of a pixel in millimetres, and `area_square_millimetres`, null where the
            scale is not known; `bounding_box` in pixels, right and lower edge exclusive, null without a lesion;
            `uncertainty`, each from 0 to 1; `cam_class`, which the activation map is of; `width` and `height` of the
            image in pixels; `protocol`.
        """
        box = self.bounding_box
        return {
            "answer": self.answer,
            "probabilities": {name: round(value, 6) for name, value in self.probabilities.items()},
            "decision": self.decision,
            "decisions": self.decisions,
            "ood_score": None if self.ood_score is None else round(self.ood_score, 6),
            "unfamiliarity": None if self.ood_score is None else round(self.ood_score, 6),
            "looks_like_dermoscopy": self.looks_like_dermoscopy,
            "coarse_mask_source": self.coarse_mask_source,
            "mask_source": self.mask_source,
            "area_fraction": round(self.area_fraction, 6),
            "area_pixels": int(np.count_nonzero(self.mask)),
            "longest_diameter": self._diameter(),
            "pixel_spacing": None if self.pixel_spacing is None else [*self.pixel_spacing],
            "area_square_millimetres": _rounded(self.area_square_millimetres),
            "bounding_box": None if box is None else box._asdict(),
            "uncertainty": self.uncertainty._asdict(),
            "cam_class": self.cam_class,
            "width": self.mask.shape[1],
            "height": self.mask.shape[0],
            "protocol": self.protocol,
        }

    def _diameter(self) -> dict[str, Any] | None:
        found = self.longest_diameter
        if found is None:
            return None
        length, ends = round(found.length, 2), [[*end] for end in found.ends]
        return {"pixels": length, "ends": ends, "millimetres": _rounded(self.longest_diameter_millimetres)}


def overlay(image: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Draw the coarse and the final outline on the image, which may have been made smaller."""
    drawn = outline(np.asarray(image), resize_mask(prediction.coarse_mask, *image.size), COARSE)
    return outline(drawn, resize_mask(prediction.final_mask, *image.size))


def cam_overlay(image: Image.Image, prediction: Prediction) -> npt.NDArray[np.uint8]:
    """Lay the activation map over an image, and draw the final outline on it."""
    return outline(heat(np.asarray(image), prediction.cam), resize_mask(prediction.final_mask, *image.size))


def write_maps(prediction: Prediction, folder: Path, name: str) -> list[Path]:
    """Write both masks, the activation map over the image, and the outlines; give their paths."""
    image = _shown(prediction)
    key = f"Activation map of {words(prediction.cam_class)}; blue: outline"
    files = {
        f"{name}_mask.png": Image.fromarray(prediction.mask),
        f"{name}_coarse.png": Image.fromarray(prediction.coarse_mask),
        f"{name}_cam.jpg": with_key(cam_overlay(image, prediction), key),
        f"{name}_overlay.jpg": Image.fromarray(overlay(image, prediction)),
    }
    for file, content in files.items():
        with replacing(folder / file) as draft:
            content.save(draft, format="PNG" if file.endswith(".png") else "JPEG", quality=92)
    return [folder / file for file in files]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


NOTICE = "For research and education. Not a medical device."


def as_html(prediction: Prediction) -> str:
    """Show outlines, activation map, probabilities, decisions and the notice; needs nothing from elsewhere."""
    image = shrink(_shown(prediction), SHOWN_SIDE)
    figures = {
        "outlines: coarse amber, final blue": data_uri(Image.fromarray(overlay(image, prediction))),
        f"activation map of {words(prediction.cam_class)}, with the final outline": data_uri(
            Image.fromarray(cam_overlay(image, prediction))
        ),
    }
    values = {
        **{"prediction": prediction, "figures": figures, "words": words, "notice": NOTICE, "heat": HEAT_GRADIENT},
        "thresholds": [(point.class_name, point.threshold) for point in prediction.operating_points],
    }
    return render("mbdcnn.inference", "prediction.html.j2", values)


def _shown(prediction: Prediction) -> Image.Image:
    """Give the image to draw on; of a prediction that has none, the lesion's probability in shades of grey."""
    if prediction.image is not None:
        return Image.fromarray(prediction.image)
    grey = Image.fromarray((prediction.mask_probability * 255).astype(np.uint8))
    return shrink(grey.convert("RGB"), DRAWN_SIDE)


def data_uri(image: Image.Image, quality: int = 90, subsampling: int = -1) -> str:
    """Give an image as an address that holds it, for HTML; `quality` and `subsampling` are Pillow's for JPEG."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
