"""Centred crops of an image, and the sizes that go with them. Pure functions of sizes and pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.config import Data, Views
from mbdcnn.data.images.decoding import Decoded

# A crop is shrunk in whole steps, by the JPEG decoder or by averaging blocks, before the bicubic resize as long as this
# many pixels are left for each one wanted: on dermoscopy images that moves a pixel by 0.2 to 0.4 grey levels on
# average, 0.62 in the worst crop seen, and takes a fraction of the time.
OVERSAMPLING = 1.5


class Box(NamedTuple):
    """Part of an image in whole pixels; right and lower are outside it."""

    left: int
    upper: int
    right: int
    lower: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.lower - self.upper


def view_boxes(width: int, height: int, fractions: Iterable[float]) -> list[Box]:
    """List the classifier's views: the whole frame, crops of the frame's aspect, then squares of its shorter side.

    Args:
        width: of the image.
        height: of the image.
        fractions: crop sizes in fifths, each used in both forms.
    """
    fractions = list(fractions)
    side = min(width, height)
    keeping_aspect = [_centred(width, height, width, height, fraction) for fraction in fractions]
    squares = [_centred(width, height, side, side, fraction) for fraction in fractions]
    return [Box(0, 0, width, height), *keeping_aspect, *squares]


def _centred(width: int, height: int, whole_width: int, whole_height: int, fraction: float) -> Box:
    left, right = _interval(width // 2, int(fraction / 5 * whole_width))
    upper, lower = _interval(height // 2, int(fraction / 5 * whole_height))
    return Box(left, upper, right, lower)


def _interval(centre: int, length: int) -> tuple[int, int]:
    # `round` rounds half to even, as Pillow does with the authors' fractional boxes.
    first = round(centre - length / 2)
    return first, max(round(centre + length / 2), first + 1)


def fractions_for(views: Views, label: str | None, split: str) -> tuple[float, ...]:
    """Choose the crops of an image: training images of rare classes get more, those without a class none."""
    if split != "train":
        return views.fractions
    if label is None:
        return ()
    return views.rare_fractions if label in views.rare_classes else views.fractions


def unique_boxes(boxes: list[Box]) -> tuple[list[Box], list[int]]:
    """Drop repeated boxes (all squares, on a square image) and say which of the rest each view is."""
    unique = list(dict.fromkeys(boxes))
    place = {box: index for index, box in enumerate(unique)}
    return unique, [place[box] for box in boxes]


def limited_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Give the size of an image whose longer side is limited, as the authors' code rounds it."""
    longer = max(width, height)
    if longer <= longest:
        return width, height
    return (longest, int(height * longest / width)) if width > height else (int(width * longest / height), longest)


def reduction(box: Box, side: int) -> int:
    """Give the largest of 8, 4, 2 and 1 by which a crop can shrink first, keeping `OVERSAMPLING`."""
    ratio = min(box.width, box.height) / (side * OVERSAMPLING)
    return next((factor for factor in (8, 4, 2) if ratio >= factor), 1)


def least_side(settings: Data) -> int:
    """Give the shorter side at which every crop still has `OVERSAMPLING` pixels for each one wanted.

    One side for whatever is made of an image, so that the same pixels come out each time.
    """
    views = settings.views
    of_views = [5 / fraction * settings.image_size for fraction in (5, *views.fractions, *views.rare_fractions)]
    return math.ceil(OVERSAMPLING * max(*of_views, *settings.scales, settings.segmentation_size))


def squash(image: Decoded, box: Box, side: int) -> npt.NDArray[np.uint8]:
    """Cut a crop out and squash it to `side` x `side` RGB pixels, bicubic.

    No pixel outside the crop counts, but for the rest of those that a shrunk image's edge pixels stand for.
    """
    left, upper, right, lower = (edge / image.shrunk for edge in box)
    first, top = math.floor(left), math.floor(upper)
    factor = max(1, reduction(box, side) // image.shrunk)
    crop = image.image.reduce(factor, (first, top, math.ceil(right), math.ceil(lower)))
    # Where a factor does not divide a side, the first and the last block are only partly covered by the crop.
    covered = (left - first) / factor, (upper - top) / factor, (right - first) / factor, (lower - top) / factor
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC, covered))


def views_of_image(image: Decoded, boxes: list[Box], side: int) -> list[npt.NDArray[np.uint8]]:
    """Cut out and squash each box."""
    return [squash(image, box, side) for box in boxes]
