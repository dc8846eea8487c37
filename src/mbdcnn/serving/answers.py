"""What the server answers, as its schema says it."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import DRAWN_SIDE, Prediction
from mbdcnn.inference.prompts import MOST_POINTS, CoarseMaskSource, Prompts, parse_prompt
from mbdcnn.serving.limits import RefusedError

NOTICE = "Research use only. Not a medical device."
LAYERS = ("mask", "coarse_mask", "cam")
IMAGE, MODEL_MASK = EXTRAS = ("image", "model_mask")
"""Layers that are sent only where they are asked for."""


class Options(BaseModel):
    """What a client may choose, in the query or as fields of the form."""

    model_config = ConfigDict(extra="forbid")

    protocol: ProtocolName | None = Field(
        None, description="fast: one view; paper: all views and scales, far slower. The server's own if not given."
    )
    layers: str = Field(
        ",".join(LAYERS),
        description=f"Maps to send, separated by commas, of {', '.join(LAYERS)}; empty for none. Also {IMAGE}, a copy "
        f"for browsers of what they cannot show themselves, such as DICOM, and {MODEL_MASK}, the model's final outline "
        "whoever's mask is.",
    )
    encoding: Literal["png", "rle"] = Field("png", description="How masks are sent.")
    points: str | None = Field(
        None,
        description=f"Clicks that correct the coarse mask, as JSON: [[x, y, inside], ...] in pixels of the image as "
        f"shown, inside 1 on the lesion and 0 beside it; at most {MOST_POINTS}.",
    )
    box: str | None = Field(
        None,
        description="A box round the lesion that corrects the coarse mask, as JSON: [x0, y0, x1, y1] in pixels, right "
        "and lower edge exclusive.",
    )

    keep_outline: bool = Field(
        False,
        description="Take the outline that mask, points or box give as the result, in place of the model's final one, "
        "which may hardly follow it: mask, area, diameter and bounding_box are then its.",
    )

    @field_validator("layers")
    @classmethod
    def _known(cls, layers: str) -> str:
        known = (*LAYERS, *EXTRAS)
        unknown = [layer for layer in layers.split(",") if layer and layer not in known]
        if unknown:
            raise ValueError(f"unknown layer '{unknown[0][:40]}'; known are {', '.join(known)}")
        return layers

    @property
    def shown(self) -> int:
        """Longer side of the copy of the image that is sent; 0 if none is."""
        return DRAWN_SIDE if IMAGE in self.layers.split(",") else 0

    def prompts(self, mask: bytes | None) -> Prompts:
        """Put together what a person says of the coarse mask.

        Raises:
            RefusedError: points or box are no list in JSON; or an outline is to be kept and none is given.
        """
        try:
            points = None if self.points is None else parse_prompt("points", self.points)
            box = None if self.box is None else parse_prompt("box", self.box)
        except UserError as error:
            raise RefusedError(422, str(error)) from None
        if self.keep_outline and mask is None and not points and box is None:
            raise RefusedError(422, "keep_outline: no outline to keep; send mask, points or box, or leave it out")
        return Prompts(mask, points, box)

    @classmethod
    def parse(cls, values: dict[str, str]) -> Options:
        """Read them.

        Raises:
            RefusedError: one is unknown, or has an impossible value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))[:40]
            if first["type"] == "extra_forbidden":
                raise RefusedError(422, f"{name}: unknown; known are {', '.join(cls.model_fields)}") from None
            raise RefusedError(422, f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


class Problem(BaseModel):
    """Why a request was not done."""

    error: str = Field(description="One line: what is wrong and what to do.")


class PngMask(BaseModel):
    """A mask as a 1-bit PNG of the image's size, white on the lesion."""

    encoding: Literal["png"] = "png"
    data: str = Field(description="The PNG file in base64.")


class RleMask(BaseModel):
    """A mask as COCO's uncompressed run lengths."""

    encoding: Literal["rle"] = "rle"
    size: tuple[int, int] = Field(description="Height and width.")
    counts: list[int] = Field(
        description="Lengths of runs, down the columns from left to right: background, lesion, background ..."
    )


Mask = Annotated[PngMask | RleMask, Field(discriminator="encoding")]


class ActivationMap(BaseModel):
    """Where mask-CN saw the class that `cam_class` names, on a coarse grid over the whole image."""

    width: int
    height: int
    values: list[list[float]] = Field(description="Row by row; at most 1, and 0 or less where it was not seen.")


class BoxAnswer(BaseModel):
    """Smallest upright rectangle round the lesion, in pixels; right and lower edge exclusive."""

    left: int
    upper: int
    right: int
    lower: int


class DiameterAnswer(BaseModel):
    """The largest distance between two corners of the lesion's pixels."""

    pixels: float
    ends: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="x and y of both corners in pixels, from the image's upper left corner."
    )
    millimetres: float | None = Field(description="Null where the scale is not known.")


class UncertaintyAnswer(BaseModel):
    """How unsure the model is, each from 0 (sure) to 1."""

    entropy: float = Field(description="Of the class probabilities, as a fraction of the largest possible.")
    outline: float = Field(description="Share of the lesion's pixels with a lesion probability between 0.2 and 0.8.")
    disagreement: float | None = Field(description="Mean distance of the views' probabilities; null with one view.")


class Answer(BaseModel):
    """What the model makes of one image. Research use only. Not a medical device."""

    notice: str = NOTICE
    model: str = Field(description="Fingerprint of the model, as in /v1/model.")
    protocol: ProtocolName
    width: int
    height: int
    answer: str = Field(description="In a sentence: what is flagged, at which threshold, and the most probable class.")
    probabilities: dict[str, float] = Field(description="By class; they add up to 1.")
    decision: str = Field(description="The most probable class.")
    decisions: dict[str, bool] = Field(
        {}, description="For each operating point, such as 'melanoma at 80% sensitivity', whether it is reached."
    )
    uncertainty: UncertaintyAnswer
    ood_score: float | None = Field(
        None, description="How unlike the training images; 1 is the threshold. Null where the model cannot tell."
    )
    unfamiliarity: float | None = Field(None, description="The former name of ood_score.", deprecated=True)
    looks_like_dermoscopy: bool | None = Field(None, description="Whether ood_score is at most 1.")
    bounding_box: BoxAnswer | None = Field(description="Null where no lesion was found.")
    area_fraction: float = Field(description="Share of the image that is lesion.")
    area_pixels: int = Field(description="Pixels of the lesion.")
    longest_diameter: DiameterAnswer | None = Field(description="Of the lesion; null where none was found.")
    pixel_spacing: tuple[float, float] | None = Field(
        None, description="Height and width of a pixel in millimetres, from DICOM's PixelSpacing; null if not known."
    )
    area_square_millimetres: float | None = Field(None, description="Of the lesion; null if the scale is not known.")
    mask: Mask | None = Field(None, description="The lesion; null if not asked for.")
    coarse_mask: Mask | None = Field(
        None, description="The rough outline that guided the class; null if not asked for."
    )
    coarse_mask_source: CoarseMaskSource = Field(
        description="Whose rough outline that is: the model's; the one that was sent as mask; or one of either that "
        "points or a box moved."
    )
    mask_source: CoarseMaskSource = Field(
        description="Whose mask it is, and whose area, diameter and bounding_box: the model's; or, with keep_outline, "
        "as coarse_mask_source."
    )
    model_mask: Mask | None = Field(None, description="The model's own final outline; null if not asked for.")
    cam_class: str = Field(description="The class that the activation map is of.")
    cam: ActivationMap | None = Field(None, description="Null if not asked for.")
    image: str | None = Field(
        None,
        description=f"A copy as JPEG in base64, the longer side at most {DRAWN_SIDE} pixels; null if not asked for.",
    )


def answer(prediction: Prediction, options: Options, model: str) -> bytes:
    """Give a prediction as JSON."""
    wanted = options.layers.split(",")
    layers: dict[str, Any] = {}
    if options.keep_outline:
        prediction = prediction.keep_outline()
    masks = {"mask": prediction.mask, "coarse_mask": prediction.coarse_mask, MODEL_MASK: prediction.final_mask}
    layers |= {name: encode_mask(mask, options.encoding) for name, mask in masks.items() if name in wanted}
    if "cam" in wanted:
        layers["cam"] = _activation_map(prediction.cam)
    if options.shown and prediction.image is not None:
        layers[IMAGE] = _encoded(prediction.image, "JPEG", quality=90)
    return Answer(model=model, **prediction.to_dict(), **layers).model_dump_json().encode()


def encode_mask(mask: npt.NDArray[np.bool_], encoding: Literal["png", "rle"]) -> PngMask | RleMask:
    """Encode a mask, height x width."""
    if encoding == "rle":
        return RleMask(size=(mask.shape[0], mask.shape[1]), counts=run_lengths(mask))
    return PngMask(data=_encoded(mask, "PNG"))


def run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Count runs of equal pixels down the columns, background first: what COCO calls uncompressed RLE."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]]))
    counts: list[int] = lengths.tolist()
    return [0, *counts] if flat[0] else counts


def _encoded(pixels: npt.NDArray[Any], kind: str, **options: int) -> str:
    """Give pixels as an image file in base64."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return base64.b64encode(stream.getvalue()).decode()


def _activation_map(cam: npt.NDArray[np.float32]) -> ActivationMap:
    height, width = cam.shape
    return ActivationMap(width=width, height=height, values=cam.astype(np.float64).round(4).tolist())
