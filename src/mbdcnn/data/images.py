"""One safe decoder for every picture and mask, whatever its format, mode or state."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from mbdcnn.errors import UserError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

FORMATS = ("JPEG", "JPEG2000", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""What Pillow is let try. Others it knows are no pictures of skin, EPS would run another program, and PPM is decoded
pixel by pixel in Python, which takes minutes for a few megabytes."""

PIXEL_LIMIT = 200_000_000
"""Larger pictures are refused: the largest of the ISIC archive has 30 million pixels, and a few kilobytes can claim
to hold billions."""

SIDE_LIMIT = 65_535
"""What JPEG and DICOM can hold. A picture of one row and a hundred million columns would take gigabytes to resample."""

SCAN_LIMIT = 100
"""Times a JPEG may go over its pixels: encoders write 1 to 20, and a small file can ask for a hundred thousand."""

TILE_LIMIT = 1 << 24
"""Pixels of a TIFF's tile beyond those of the picture: a tile is decoded whole, whatever part of it is used."""

STRIP = 1 << 22
"""Pixels that are converted at a time, where what lies between takes several times the memory of the result."""

# Pillow warns from here on; `_open` refuses. Its own default would already warn at 89 million.
Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT

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
_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_NOT_BLACK = [0] + [255] * 255
_ABOVE_HALF = [0] * 128 + [255] * 128

Source = str | Path | bytes


class TooManyPixelsError(UserError):
    """A picture has more than `PIXEL_LIMIT` pixels, or a side of more than `SIDE_LIMIT`."""


def decode(source: Source, at_least: int | None = None) -> Image.Image:
    """Decode a picture to 8-bit RGB, turned the way its EXIF orientation says.

    Transparency is laid over black, the colour of the dermoscope's dark corners and of what augmentation moves in.
    Of an animation the first frame is taken, and of 16-bit pixels the upper byte.

    Args:
        source: a file, or its content.
        at_least: a JPEG may come out smaller by a factor of 2, 4 or 8, which is faster, as long as neither side
            falls below this.

    Raises:
        UserError: it is missing, empty, truncated, no picture, or too large.
    """
    name = _name(source)
    try:
        with _open(source) as picture:
            if at_least is not None:
                picture.draft("RGB", (at_least, at_least))
            return _decoded(picture)
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
            return _upright(_to_mask(picture), _orientation(picture))
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
            # Pillow gives the size of a TIFF as it will be turned.
            sideways = picture.format != "TIFF" and _orientation(picture) in _SIDEWAYS
            return (height, width) if sideways else (width, height)
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from None


def load(picture: Image.Image) -> None:
    """Decode the pixels of an opened picture, unless it asks for far more work than its size does.

    Raises:
        ValueError: it does.
    """
    pixels = picture.width * picture.height
    if isinstance(picture, JpegImagePlugin.JpegImageFile) and _scans(picture) > SCAN_LIMIT:
        raise ValueError(f"a JPEG of more than {SCAN_LIMIT} scans")
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and _tile(picture) > pixels + TILE_LIMIT:
        raise ValueError("a TIFF of tiles far larger than the picture")
    picture.load()


def _scans(picture: JpegImagePlugin.JpegImageFile) -> int:
    """Count the markers that begin a scan, before decoding has begun; in coded pixels they cannot stand."""
    stream = picture.fp
    if stream is None:
        return 0
    place = stream.tell()
    stream.seek(0)
    count = stream.read().count(b"\xff\xda")
    stream.seek(place)
    return count


def _tile(picture: TiffImagePlugin.TiffImageFile) -> int:
    tags = picture.tag_v2
    return int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))


def _decoded(picture: Image.Image) -> Image.Image:
    load(picture)
    return _upright(_to_rgb(picture), _orientation(picture))


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
        from mbdcnn.data import dicom
    except ImportError:
        raise UserError(f"{name}: a DICOM file; to read it, pip install 'mbdcnn[dicom]'") from None
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
        return UserError(f"{name}: not a picture that can be read (JPEG, PNG, BMP, TIFF, WebP or DICOM)")
    # Where the system gave it: no permission, a link in a circle, a name too long.
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{name}: {error.strerror}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{name}: cannot be decoded ({reason}); the file is damaged or of an unusual kind")


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    # A damaged EXIF block says nothing about the orientation and leaves the pixels whole.
    except Exception:
        return 1


def _upright(pixels: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else pixels.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if picture.mode in _SIXTEEN_BIT:
        return _in_strips(picture, _upper_byte)
    if picture.has_transparency_data:
        return _in_strips(picture, _over_black)
    return picture.convert("RGB")


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


def _to_mask(picture: Image.Image) -> Image.Image:
    if picture.mode == "1":
        return picture
    if picture.mode == "F" or picture.mode in _SIXTEEN_BIT:
        return Image.fromarray(np.asarray(picture) > 0)
    if picture.mode == "L":
        # Lossy compression leaves small values all over the background.
        return picture.point(_ABOVE_HALF if picture.format == "JPEG" else _NOT_BLACK, "1")
    red, green, blue = _to_rgb(picture).split()
    grey = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return grey.point(_ABOVE_HALF if picture.format == "JPEG" else _NOT_BLACK, "1")
