"""Settings of augmentation, training and loss."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mbdcnn.config.base import Duration, Positive, Probability, Section, Side


class Augmentation(Section):
    """Random changes to a training sample; geometry is drawn once for image, mask and truth."""

    crop_probability: Probability = 0.5
    """Chance of cutting an equal margin off all four sides (segmentation only)."""
    crop_margin_step: Positive = 30
    """Margins are multiples of this, in pixels of the size-limited image, below a quarter of its mean side."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest rotation either way, in degrees."""
    translate_x: Probability = 0.0
    """Largest horizontal shift as a fraction of the width, in whole pixels."""
    translate_y: Probability = 0.1
    """Largest vertical shift as a fraction of the height, in whole pixels."""
    scale: tuple[float, float] = (0.9, 1.1)
    """Range of the scale factor."""
    aspect: Annotated[float, Field(ge=1)] = 1.0
    """Largest factor by which width over height is stretched either way."""
    frame: tuple[float, float] | None = None
    """Range of width over height of the frames that images are squashed from: each is stretched as if it came from such
    a one, so that squashed images and square ones reach the network alike. As they are if not given."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 5.73
    """Largest shear along x either way, in degrees."""
    vertical_flip: Probability = 0.5
    """Chance of turning the image upside down."""
    horizontal_flip: Probability = 0.5
    """Chance of mirroring the image."""
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    """For the image under the affine map. Masks are always sampled nearest."""
    outside: Literal["black", "mirrored"] = "black"
    """What is seen where a map looks past the image's edge: nothing, or the image and its mask mirrored there."""
    brightness: Probability = 0.0
    """Largest relative change of brightness."""
    contrast: Probability = 0.0
    """Largest relative change of contrast."""
    saturation: Probability = 0.0
    """Largest relative change of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift of hue, as a fraction of the colour circle."""
    colour_cast: Probability = 0.0
    """Largest relative change of each colour channel by itself, as by another camera or lamp."""
    blur: Probability = 0.0
    """Chance of a slight blur."""
    dark_corners: Probability = 0.0
    """Chance of dark corners, as at the rim of a round lens."""
    hairs: Probability = 0.0
    """Chance of drawn hairs."""
    noise: Probability = 0.0
    """Chance of pixel noise."""
    stickers: Probability = 0.0
    """Chance of a coloured sticker at the edge, as colour charts are laid beside a lesion."""
    background: Probability = 0.0
    """Chance that what lies round the lesion is exchanged for that of another image (mask-CN, images with a mask)."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name, limits in (("scale", self.scale), ("frame", self.frame)):
            if limits is not None and not 0 < limits[0] <= limits[1]:
                raise ValueError(f"{name}: {list(limits)} is not a range of positive factors, smallest first")
        return self


class Training(Section):
    """How one network is trained."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Adam's rate at the first step."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """The rate at step t of T is `learning_rate * (1 - t / T) ** poly_power`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Share of each weight taken off at each step, times the rate (decoupled, as in AdamW)."""
    batch_size: Positive = 16
    """Samples in one optimiser step, over all devices."""
    length: Duration = "500 epochs"
    """How long to train: `N epochs` (passes over the training set) or `N steps` (optimiser steps)."""
    validate_every: Duration = "1 epoch"
    """Time between two validations, in epochs or steps."""
    validate_from: Annotated[int, Field(ge=0)] = 0
    """No validation before this step, which is the first to be validated unless `validate_every` is more."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks under autocast: `auto` is bf16 where that is faster, on a GPU that has it or a CPU
    that multiplies matrices 1.5 times as fast in it, and fp32 elsewhere. `fp16` needs a GPU."""
    freeze_batch_norm: bool = False
    """Keep batch-norm statistics as they start."""
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share that a running average of the weights keeps at each step (EMA), such as 0.998; the average is what is
    validated and kept. 0 for none."""
    small_side: Side | None = None
    """Side of the training images in the first part of the schedule, in pixels: smaller ones take less time. The
    networks' own if not given."""
    small_part: Probability = 0.6
    """Which part of the schedule that is."""
    early_stopping: Positive | None = None
    """Stop after so many validations without a better one; never if not given."""

    @model_validator(mode="after")
    def _enough_for_batch_norm(self) -> Self:
        if self.batch_size == 1 and not self.freeze_batch_norm:
            raise ValueError("batch_size: 1 is too few for batch norm to train on; give 2 or freeze_batch_norm: true")
        return self


class SegmentationLoss(Section):
    """Soft Dice plus rank loss."""

    rank_weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the rank loss beside the Dice loss."""
    rank_pixels: Positive = 30
    """K: how many of the hardest pixels of each kind are compared."""
    rank_margin: float = 0.3
    """Wanted lead of a lesion pixel's probability over a background pixel's."""
