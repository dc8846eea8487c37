"""Colours as an image's ICC profile means them, brought to sRGB, which the networks learnt from."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from mbdcnn.data.images.modes import to_rgb

PROFILE_LIMIT = 4 << 20
"""Bytes of a profile; those of printers take up to two million."""

_MODES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}
_UNUSABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


class _Conversion(NamedTuple):
    """What a profile asks for."""

    mode: str
    """Of the images it is for."""
    to_srgb: ImageCms.ImageCmsTransform | None
    """None where it would change no value by more than one or two, as sRGB's own profiles do."""


def in_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert to 8-bit RGB as `to_rgb` does, and from the colours of the image's profile to sRGB.

    Returns:
        The image, and whether it has a profile that is damaged or for another kind of image, and was ignored.

    Raises:
        ValueError: its pixels are floating-point numbers.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return to_rgb(image), False
    try:
        mode, to_srgb = _conversion(profile)
        is_grey = image.mode in {"1", "L", "LA"} or image.mode.startswith("I")
        if mode != ("CMYK" if image.mode == "CMYK" else "L" if is_grey else "RGB"):
            # Cameras and editors leave sRGB's profile in grey images, where it changes nothing.
            return to_rgb(image), to_srgb is not None or mode != "RGB" or not is_grey
        if to_srgb is None:
            return to_rgb(image), False
        pixels = image if mode == "CMYK" else to_rgb(image)
        return to_srgb.apply(pixels.getchannel(0) if mode == "L" else pixels), False
    except _UNUSABLE:
        return to_rgb(image), True


@lru_cache(maxsize=16)
def _conversion(profile: bytes) -> _Conversion:
    if len(profile) > PROFILE_LIMIT:
        raise ValueError
    opened = ImageCms.ImageCmsProfile(BytesIO(profile))
    mode = _MODES[opened.profile.xcolor_space.strip()]
    to_srgb = ImageCms.buildTransform(
        opened, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    return _Conversion(mode, None if mode != "CMYK" and _changes_nothing(to_srgb, mode) else to_srgb)


def _changes_nothing(to_srgb: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
    sample = Image.fromarray(colours if mode == "RGB" else np.ascontiguousarray(colours[..., 0]))
    changed = np.asarray(to_srgb.apply(sample)).astype(int) - np.asarray(sample.convert("RGB"))
    return int(np.abs(changed).max()) <= 2
