"""What images of any mode become: 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

STRIP = 1 << 22
"""Pixels that are converted at a time, where what lies between takes several times the memory of the result."""

SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB: transparency over black, the upper 8 of the bits that are used of 16-bit pixels.

    Raises:
        ValueError: its pixels are floating-point numbers.
    """
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode in SIXTEEN_BIT:
        shift = used_bits(int(np.asarray(image).max())) - 8
        return _in_strips(image, lambda strip: _upper_byte(strip, shift))
    if image.has_transparency_data:
        return _in_strips(image, over_black)
    return image.convert("RGB")


def used_bits(largest: int) -> int:
    """Give the depth of pixels kept in 16 bits whose largest value is known: 8, 10, 12 or 16.

    Cameras of 10 and 12 bits are often labelled 16; taken for it their images would be a sixteenth as bright. An image
    of 16 bits whose brightest pixel is below a sixteenth of white does not occur but by that mistake.
    """
    return next((bits for bits in (8, 10, 12) if largest < 1 << bits), 16)


def over_black(image: Image.Image) -> Image.Image:
    """Lay an image with transparency over black; the result is RGBA."""
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert strip by strip to RGB."""
    whole = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(convert(strip), (0, top))
    return whole


def _upper_byte(strip: Image.Image, shift: int) -> Image.Image:
    return Image.fromarray((np.asarray(strip) >> shift).clip(0, 255).astype(np.uint8))
