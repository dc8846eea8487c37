"""Skin tone of an image: the individual typology angle (ITA) of the skin round the lesion.

ITA = atan2(L* - 50, b*) in degrees, of the median L* and b* (Chardon et al. 1991, classes of Del Bino et al. 2013). It
depends on camera and light; published methods disagree with one another and with a dermatologist's eye.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

CLASSES = (
    (55.0, "very light, ITA over 55°"),
    (41.0, "light, 41 to 55°"),
    (28.0, "intermediate, 28 to 41°"),
    (10.0, "tan, 10 to 28°"),
    (-30.0, "brown, \N{MINUS SIGN}30 to 10°"),
    (-180.0, "dark, under \N{MINUS SIGN}30°"),
)
"""Lower bounds, lightest first."""
MARGIN = 0.05
"""Distance kept from the lesion, of the image's side: its border fades into the skin."""
LEAST = 0.01
"""Share of the image that must be left as skin."""
DARKEST, BRIGHTEST = 25.0, 95.0
"""L* outside these is a dark corner, ink or a reflection."""
HAIR_DROP = 6.0
"""L* by which a hair is darker than the skin beside it."""
HAIR_WIDTH = 0.04
"""Widest hair, of the image's side."""

# sRGB to XYZ under D65 (IEC 61966-2-1), and D65's white.
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def to_lab(pixels: UInt8[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Convert sRGB to CIE L*a*b* under D65."""
    rgb = pixels / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    cube = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(image: UInt8[np.ndarray, "h w 3"], lesion: Bool[np.ndarray, "h w"]) -> float | None:
    """Measure the ITA in degrees on what is neither lesion, dark corner, ink, reflection nor hair.

    None where less than a hundredth of the image is left.
    """
    lab = to_lab(image)
    lightness = lab[..., 0]
    skin = ~_widened(lesion, MARGIN) & (lightness > DARKEST) & (lightness < BRIGHTEST) & ~_hair(lightness)
    skin &= ~_widened(lightness < DARKEST, MARGIN / 2)
    if skin.mean() < LEAST:
        return None
    light, _, yellow = np.median(lab[skin], axis=0)
    return math.degrees(math.atan2(light - 50, yellow))


def tone_class(angle: float | None) -> str | None:
    """Name the class of an ITA."""
    return None if angle is None else next(name for low, name in CLASSES if angle > low)


def _widened(mask: Bool[np.ndarray, "h w"], by: float) -> Bool[np.ndarray, "h w"]:
    """Grow a mask by a share of the image's side."""
    reach = max(1, round(by * min(mask.shape)))
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * reach + 1))
    return np.asarray(grown) > 0


def _hair(lightness: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Find thin dark structures: what a closing would fill by more than `HAIR_DROP`."""
    side = 2 * max(1, round(HAIR_WIDTH * min(lightness.shape) / 2)) + 1
    image = Image.fromarray((lightness * 2.55).clip(0, 255).astype(np.uint8))
    closed = image.filter(ImageFilter.MaxFilter(side)).filter(ImageFilter.MinFilter(side))
    dark = np.asarray(closed).astype(float) - np.asarray(image) > HAIR_DROP * 2.55
    return _widened(dark, 0.5 / min(lightness.shape))
