"""What pictures of any mode become: 8-bit RGB, or 1-bit masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops

STRIP = 1 << 22
"""Pixels that are converted at a time, where what lies between takes several times the memory of the result."""

_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_NOT_BLACK = [0] + [255] * 255
_ABOVE_HALF = [0] * 128 + [255] * 128


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB: transparency over black, the upper byte of 16-bit pixels.

    Raises:
        ValueError: its pixels are floating-point numbers.
    """
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if picture.mode in _SIXTEEN_BIT:
        return _in_strips(picture, _upper_byte)
    if picture.has_transparency_data:
        return _in_strips(picture, _over_black)
    return picture.convert("RGB")


def to_mask(picture: Image.Image) -> Image.Image:
    """Convert to 1 bit: set where a pixel is not black, in a JPEG where it is at least half white."""
    if picture.mode == "1":
        return picture
    if picture.mode == "F" or picture.mode in _SIXTEEN_BIT:
        return Image.fromarray(np.asarray(picture) > 0)
    if picture.mode == "L":
        # Lossy compression leaves small values all over the background.
        return picture.point(_ABOVE_HALF if picture.format == "JPEG" else _NOT_BLACK, "1")
    red, green, blue = to_rgb(picture).split()
    grey = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return grey.point(_ABOVE_HALF if picture.format == "JPEG" else _NOT_BLACK, "1")


def _in_strips(picture: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert strip by strip to RGB."""
    whole = Image.new("RGB", picture.size)
    rows = max(1, STRIP // picture.width)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        whole.paste(convert(strip), (0, top))
    return whole


def _upper_byte(strip: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(strip) >> 8).clip(0, 255).astype(np.uint8))


def _over_black(strip: Image.Image) -> Image.Image:
    layer = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
