"""One safe decoder for every picture and mask, whatever its format, mode or state."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from mbdcnn.data.images.limits import PIXEL_LIMIT, SIDE_LIMIT, Source, file_content, load
from mbdcnn.data.images.modes import to_mask, to_rgb
from mbdcnn.errors import UserError
from mbdcnn.system.extras import not_installed

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
    | {".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c"}
)

FORMATS = ("JPEG", "JPEG2000", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""What Pillow is let try. Others it knows are no pictures of skin, EPS would run another program, and PPM is decoded
pixel by pixel in Python, which takes minutes for a few megabytes."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Names of the parts of a PNG that may hold the orientation."""


class TooManyPixelsError(UserError):
    """A picture has more than `PIXEL_LIMIT` pixels, or a side of more than `SIDE_LIMIT`."""


@dataclass(frozen=True)
class Decoded:
    """A picture in as many pixels as were asked for."""

    image: Image.Image
    """RGB, upright."""
    width: int
    height: int
    """Size of the picture in its file, upright."""
    shrunk: int
    """How many pixels of the file, across and down, each pixel of `image` stands for: 1, 2, 4 or 8."""

    @classmethod
    def whole(cls, image: Image.Image) -> Decoded:
        """Take an RGB image that holds all its pixels."""
        return cls(image, image.width, image.height, shrunk=1)


def decode(source: Source) -> Image.Image:
    """Decode a picture to 8-bit RGB, turned the way its EXIF orientation says.

    Transparency is laid over black, the colour of the dermoscope's dark corners and of what augmentation moves in.
    Of an animation the first frame is taken, and of 16-bit pixels the upper byte.

    Args:
        source: a file, or its content.

    Raises:
        UserError: it is missing, empty, truncated, no picture, or too large.
    """
    return decode_at_least(source, SIDE_LIMIT).image


def decode_at_least(source: Source, side: int) -> Decoded:
    """Decode as `decode` does, but a large JPEG to a half, a quarter or an eighth: that takes less time and memory.

    Args:
        source: a file, or its content.
        side: pixels that neither side falls below.

    Raises:
        UserError: as for `decode`.
    """
    name = _name(source)
    try:
        with _open(source) as picture:
            width, height = picture.size
            shrunk = _shrink(picture, side)
            image = _decoded(picture)
            if shrunk == 1:
                return Decoded.whole(image)
            sideways = _orientation(picture) in _SIDEWAYS
            return Decoded(image, *((height, width) if sideways else (width, height)), shrunk)
    except UserError:
        raise
    # Damaged files make the decoders fail in many ways (OSError, SyntaxError, struct.error, IndexError ...).
    except Exception as error:
        raise _unreadable(name, error) from None


def decode_opened(picture: Image.Image) -> Image.Image:
    """Give what `decode` would of a picture that is already open.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        return _decoded(picture)
    except Exception as error:
        raise _unreadable("the picture", error) from None


def decode_mask(source: Source) -> npt.NDArray[np.bool_]:
    """Decode a mask of any mode: the lesion is where a pixel is not black, height x width.

    Raises:
        UserError: as for `decode`.
    """
    return np.asarray(mask_image(source))


def mask_image(source: Source) -> Image.Image:
    """Decode a mask to a 1-bit picture.

    Raises:
        UserError: as for `decode`.
    """
    name = _name(source)
    try:
        with _open(source) as picture:
            load(picture)
            return _upright(to_mask(picture), _orientation(picture))
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from None


def picture_size(source: Source) -> tuple[int, int]:
    """Read width and height as `decode` would give them, from the header alone.

    Raises:
        UserError: as for `decode`, except that damage behind the header goes unseen.
    """
    name = _name(source)
    try:
        if _is_dicom(source):
            dicom_size: tuple[int, int] = _dicom(name).size(source, name)
            return dicom_size
        with _open(source) as picture:
            width, height = picture.size
            return (height, width) if _is_sideways_by_header(picture) else (width, height)
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from None


def _shrink(picture: Image.Image, side: int) -> int:
    """Tell a JPEG's decoder to shrink as long as neither side falls below `side`, and give by how much it will."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return 1
    width, height = picture.size
    # What a last pixel holds of the picture's edge is only part of it. Turned, it would be the first.
    turned = _orientation(picture) in _TURNS
    factors = (factor for factor in (8, 4, 2) if not turned or width % factor == height % factor == 0)
    factor = next((factor for factor in factors if min(width, height) // factor >= side), 1)
    if factor > 1:
        picture.draft(None, (width // factor, height // factor))
    return factor


def _decoded(picture: Image.Image) -> Image.Image:
    load(picture)
    return _upright(to_rgb(picture), _orientation(picture))


def _name(source: Source) -> str:
    return "the picture" if isinstance(source, bytes) else str(source)


def _is_dicom(source: Source) -> bool:
    if isinstance(source, bytes):
        return source[128:132] == b"DICM"
    path = Path(source)
    # A pipe would be waited for without end, and a device read without end.
    if path.exists() and not path.is_file():
        raise UserError(f"{source}: a folder, pipe or device, no picture file")
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _dicom(name: str) -> ModuleType:
    """Give the reader of DICOM files, which is only there with its extra."""
    try:
        from mbdcnn.data.images import dicom
    except ImportError:
        raise not_installed(f"{name}: a DICOM file; reading it", "dicom") from None
    return dicom


def _open(source: Source) -> Image.Image:
    if _is_dicom(source):
        photograph: Image.Image = _dicom(name := _name(source)).decode(source, name)
        return photograph
    picture = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    width, height = picture.size
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        picture.close()
        raise Image.DecompressionBombError
    return picture


def _unreadable(name: str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{name}: no such file")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        limit = f"{PIXEL_LIMIT // 1_000_000} million pixels, or {SIDE_LIMIT} on a side"
        return TooManyPixelsError(f"{name}: has more than {limit}; make it smaller")
    if isinstance(error, UnidentifiedImageError):
        kinds = "JPEG, PNG, BMP, TIFF, WebP or DICOM"
        return UserError(f"{name}: not a picture that can be read ({kinds}); save other kinds, such as HEIC, as JPEG")
    # Where the system gave it: no permission, a link in a circle, a name too long.
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{name}: {error.strerror}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{name}: cannot be decoded ({reason}); the file is damaged or of an unusual kind")


def _is_sideways_by_header(picture: Image.Image) -> bool:
    # Pillow gives the size of a TIFF as it will be turned.
    if picture.format == "TIFF":
        return False
    if isinstance(picture, PngImagePlugin.PngImageFile):
        content = file_content(picture)
        # They may stand behind the pixels, and Pillow would decode the whole PNG to look for them.
        if not any(name in content for name in _PNG_TEXTS):
            return False
    return _orientation(picture) in _SIDEWAYS


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    # A damaged EXIF block says nothing about the orientation and leaves the pixels whole.
    except Exception:
        return 1


def _upright(pixels: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else pixels.transpose(turn)
