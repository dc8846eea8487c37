"""Drawing masks and activation maps on an image."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from mbdcnn.metrics.masks import border_of

RGBImage: TypeAlias = UInt8[np.ndarray, "h w 3"]
Colour: TypeAlias = tuple[int, int, int]

# White, amber and blue: told apart in every kind of colour blindness, and none is a colour of skin.
TRUTH: Colour = (255, 255, 255)
COARSE: Colour = (255, 190, 30)
FINAL: Colour = (0, 125, 255)
HALO: Colour = (16, 16, 24)

# Viridis at eight even steps: its lightness rises steadily, so it reads in grey and in colour blindness.
HEAT_COLOURS = np.array(
    [
        (68, 1, 84),
        (70, 50, 127),
        (54, 92, 141),
        (39, 127, 142),
        (31, 161, 135),
        (74, 194, 109),
        (159, 218, 58),
        (253, 231, 37),
    ]
)
HEAT_TABLE = np.stack(
    [np.interp(np.arange(256), np.linspace(0, 255, len(HEAT_COLOURS)), channel) for channel in HEAT_COLOURS.T],
    axis=1,
).astype(np.uint8)
HEAT_OPACITY = 0.6
HEAT_GRADIENT = f"linear-gradient(90deg, {', '.join(f'rgb{tuple(colour)}' for colour in HEAT_COLOURS.tolist())})"
"""The same for a style sheet."""


def outline(
    image: RGBImage, mask: Bool[np.ndarray, "h w"], colour: Colour = FINAL, width: int | None = None
) -> RGBImage:
    """Draw a mask's border on a copy of an image.

    The line lies on a dark one, so it shows on any skin, and follows the frame where the mask reaches it.

    Args:
        image: RGB.
        mask: what to outline.
        colour: of the line.
        width: of the line in pixels; 0.6 % of the image's shorter side if not given.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"a mask of shape {mask.shape} does not fit an image of shape {image.shape[:2]}")
    width = width or max(2, round(0.006 * min(mask.shape)))
    drawn = image.copy()
    border = np.nonzero(border_of(mask))
    _stamp(drawn, border, HALO, width + max(2, width // 2))
    _stamp(drawn, border, colour, width)
    return drawn


def heat(image: RGBImage, activation_map: Float[np.ndarray, "fh fw"]) -> RGBImage:
    """Lay an activation map over an image.

    Args:
        image: RGB.
        activation_map: any size; 0 and below leaves the image as it is, 1 and above is the hottest colour.
    """
    height, width = image.shape[:2]
    small = Image.fromarray(activation_map.astype(np.float32))
    activation = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    activation *= 255
    level = Image.fromarray(np.rint(activation, out=activation).clip(0, 255, out=activation).astype(np.uint8))
    opacity = level.point(lambda value: value * HEAT_OPACITY)
    # As a palette, because looking each pixel up in the table took most of the time.
    level.putpalette(HEAT_TABLE.tobytes())
    blended: RGBImage = np.array(Image.composite(level.convert("RGB"), Image.fromarray(image), opacity))
    return blended


def with_key(image: RGBImage, text: str) -> Image.Image:
    """Add a strip below an image with a text and the colours of activation maps from 0 to 1; widened if narrower."""
    size = max(11, image.shape[1] // 55)
    font, gap = ImageFont.load_default(size), size // 2
    left = gap + round(font.getlength(f"{text}  0 "))
    width = max(image.shape[1], left + 8 * size + round(font.getlength(" 1")) + gap)
    keyed = Image.new("RGB", (width, image.shape[0] + 2 * size), HALO)
    keyed.paste(Image.fromarray(image))
    draw, middle = ImageDraw.Draw(keyed), image.shape[0] + size
    draw.text((gap, middle), f"{text}  0 ", font=font, anchor="lm")
    scale = Image.fromarray(HEAT_TABLE[None]).resize((8 * size, size), Image.Resampling.BILINEAR)
    keyed.paste(scale, (left, middle - size // 2))
    draw.text((left + 8 * size, middle), " 1", font=font, anchor="lm")
    return keyed


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Give a copy whose longer side is at most `side`; the image may belong to the user and is not changed."""
    scale = min(1, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=1)


def _stamp(image: RGBImage, points: tuple[np.ndarray, ...], colour: Colour, width: int) -> None:
    """Put a disc on each point; far fewer writes than dilating the whole image by a wide brush."""
    rows, columns = points
    offsets = np.arange(width) - (width - 1) // 2
    centre = offsets.mean()
    for down in offsets:
        for right in offsets:
            if np.hypot(down - centre, right - centre) <= width / 2:
                row = (rows + down).clip(0, image.shape[0] - 1)
                column = (columns + right).clip(0, image.shape[1] - 1)
                image[row, column] = colour
