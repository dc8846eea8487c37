"""Images as users give them: files, their bytes, Pillow's images, arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
from PIL import Image

from mbdcnn.data.images.decoding import Decoded, decode_at_least, decode_opened
from mbdcnn.errors import UserError
from mbdcnn.inference.overlay import shrink

ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]


def is_one(images: ImageLike | Iterable[ImageLike]) -> TypeGuard[ImageLike]:
    """Tell one image from several."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | bytes | Image.Image) or not isinstance(images, Iterable)


def file_of(image: ImageLike) -> str | None:
    """Give the name of the file that an image is in, None if it is in none."""
    return str(image) if isinstance(image, str | Path) else None


def decode_given(image: ImageLike, side: int) -> Decoded:
    """Decode an image to no more pixels than leave its shorter side at least `side`."""
    if isinstance(image, np.ndarray):
        grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in {3, 4})
        if image.dtype != np.uint8 or not grey or not image.size:
            raise UserError(
                f"an array of {image.dtype} {image.shape}: expected uint8, height x width for grey, or height x width "
                "x 3 or 4 for RGB or RGBA"
            )
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        return Decoded.whole(decode_opened(image))
    if not isinstance(image, str | bytes | Path):
        raise UserError(f"{type(image).__name__}: not an image; give a file, its bytes, a PIL image or a uint8 array")
    return decode_at_least(Path(image) if isinstance(image, str) else image, side)


def copy_of(image: ImageLike, decoded: Decoded, side: int) -> npt.NDArray[np.uint8]:
    """Give the image at no more than `side`; it is decoded once more where fewer pixels were enough before."""
    if decoded.shrunk > 1 and max(decoded.image.size) < side:
        shorter, longer = sorted((decoded.width, decoded.height))
        decoded = decode_given(image, math.ceil(side * shorter / longer))
    return np.asarray(shrink(decoded.image, side))
