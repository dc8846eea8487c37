"""One safe decoder for every image and mask, whatever its format, mode or state."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType

from PIL import BmpImagePlugin, ExifTags, Image, ImagePalette, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from mbdcnn.data.images.colour import in_srgb
from mbdcnn.data.images.kinds import HEAD, NAMELESS, UnusableError, another_kind, is_dicom
from mbdcnn.data.images.limits import PIXEL_LIMIT, SIDE_LIMIT, Source, file_content, load
from mbdcnn.data.images.masks import Lesion, lesion_in
from mbdcnn.errors import UserError
from mbdcnn.system.extras import not_installed

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"}
    | {".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".j2c"}
)

FORMATS = ("JPEG", "JPEG2000", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""What Pillow is let try. Others it knows are no images of skin, EPS would run another program, and PPM is decoded
pixel by pixel in Python, which takes minutes for a few megabytes."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""
_BMP_BITS_END = 30
"""Bytes of a BMP up to the end of its bits a pixel."""
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Names of the parts of a PNG that may hold the orientation."""


class TooManyPixelsError(UserError):
    """An image has more than `PIXEL_LIMIT` pixels, or a side of more than `SIDE_LIMIT`."""


@dataclass(frozen=True)
class Decoded:
    """An image in as many pixels as were asked for."""

    image: Image.Image
    """RGB, upright."""
    width: int
    height: int
    """Size of the image in its file, upright."""
    shrunk: int
    """How many pixels of the file, across and down, each pixel of `image` stands for: 1, 2, 4 or 8."""
    profile_ignored: bool = False
    """Whether the file has a colour profile that is damaged or of another kind of image."""

    @classmethod
    def whole(cls, image: Image.Image) -> Decoded:
        """Take an RGB image that holds all its pixels."""
        return cls(image, image.width, image.height, shrunk=1)


def decode(source: Source) -> Image.Image:
    """Decode an image to 8-bit RGB in the colours of sRGB, turned the way its EXIF orientation says.

    Transparency is laid over black, the colour of the dermoscope's dark corners and of what augmentation moves in.
    Of an animation the first frame is taken, and of 16-bit pixels the upper byte.

    Args:
        source: a file, or its content.

    Raises:
        UserError: it is missing, empty, truncated, no image, or too large.
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
    with _as_user_error(_name(source)), _open(source) as opened:
        width, height = opened.size
        shrunk = _shrink(opened, side)
        image, profile_ignored = _decoded(opened)
        if shrunk == 1:
            return Decoded(image, image.width, image.height, 1, profile_ignored)
        sideways = _orientation(opened) in SIDEWAYS
        return Decoded(image, *((height, width) if sideways else (width, height)), shrunk, profile_ignored)


def decode_opened(image: Image.Image) -> Image.Image:
    """Give what `decode` would of an image that is already open.

    Raises:
        UserError: it cannot be decoded.
    """
    with _as_user_error(NAMELESS):
        return _decoded(image)[0]


def read_mask(source: Source, orientation: int = 1) -> Lesion:
    """Decode a mask of any mode by the rule of `masks.lesion_in`.

    Args:
        source: a file, or its content.
        orientation: the EXIF orientation to turn it by, beyond its own: that of its image where it was drawn on the
            pixels as they are stored.

    Raises:
        UserError: as for `decode`, or it is no mask.
    """
    with _as_user_error(_name(source)), _open(source) as image:
        load(image)
        lesion = lesion_in(image)
        return Lesion(turned(turned(lesion.image, _orientation(image)), orientation), lesion.grey)


def image_size(source: Source) -> tuple[int, int]:
    """Read width and height as `decode` would give them, from the header alone.

    Raises:
        UserError: as for `decode`, except that damage behind the header goes unseen.
    """
    with _as_user_error(name := _name(source)):
        if is_dicom(_head(source)):
            dicom_size: tuple[int, int] = _dicom(name).size(source, name)
            return dicom_size
        with _open(source) as image:
            width, height = image.size
            return (height, width) if _is_sideways_by_header(image) else (width, height)


def pixel_spacing(source: Source) -> tuple[float, float] | None:
    """Read height and width of a pixel in millimetres, which only DICOM files say; None where it is not known.

    Raises:
        UserError: as for `image_size`.
    """
    with _as_user_error(name := _name(source)):
        if not is_dicom(_head(source)):
            return None
        spacing: tuple[float, float] | None = _dicom(name).pixel_spacing(source, name)
        return spacing


def orientation_of(source: Source) -> int:
    """Read the EXIF orientation that `decode` turns an image by, 1 to 8; 1 if it does not.

    Raises:
        UserError: as for `image_size`.
    """
    with _as_user_error(_name(source)):
        if is_dicom(_head(source)):
            return 1
        with _open(source) as image:
            return _orientation(image) if _may_be_turned(image) else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turn pixels upright that are stored in an EXIF orientation.

    Not `ImageOps.exif_transpose`, which writes the rest of the EXIF block anew and fails where a camera left odd tags.
    """
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _shrink(image: Image.Image, side: int) -> int:
    """Tell a JPEG's decoder to shrink as long as neither side falls below `side`, and give by how much it will."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 1
    width, height = image.size
    # What a last pixel holds of the image's edge is only part of it. Turned, it would be the first.
    turned = _orientation(image) in _TURNS
    factors = (factor for factor in (8, 4, 2) if not turned or width % factor == height % factor == 0)
    factor = next((factor for factor in factors if min(width, height) // factor >= side), 1)
    if factor > 1:
        image.draft(None, (width // factor, height // factor))
    return factor


def _decoded(opened: Image.Image) -> tuple[Image.Image, bool]:
    load(opened)
    image, profile_ignored = in_srgb(opened)
    return turned(image, _orientation(opened)), profile_ignored


def _name(source: Source) -> str:
    return NAMELESS if isinstance(source, bytes) else str(source)


def _head(source: Source) -> bytes:
    """Read the first bytes, by which files are told apart."""
    if isinstance(source, bytes):
        return source[:HEAD]
    path = Path(source)
    # A pipe would be waited for without end, and a device read without end.
    if path.exists() and not path.is_file():
        raise UserError(f"{source}: a folder, pipe or device, no image file")
    with path.open("rb") as stream:
        return stream.read(HEAD)


def _dicom(name: str) -> ModuleType:
    """Give the reader of DICOM files, which is only there with its extra."""
    try:
        from mbdcnn.data.images import dicom
    except ImportError:
        raise not_installed(f"{name}: a DICOM file; reading it", "dicom") from None
    return dicom


def _open(source: Source) -> Image.Image:
    if is_dicom(head := _head(source)):
        photograph: Image.Image = _dicom(name := _name(source)).decode(source, name)
        return photograph
    if (reason := another_kind(head, _name(source))) is not None:
        raise UserError(f"{_name(source)}: {reason}")
    image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    width, height = image.size
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        image.close()
        raise Image.DecompressionBombError
    if isinstance(image, BmpImagePlugin.BmpImageFile) and image.mode == "1":
        _read_by_palette(image)
    return image


def _read_by_palette(image: BmpImagePlugin.BmpImageFile) -> None:
    """Have a BMP of 4 or 8 bits whose palette is black and white read so, which Pillow takes for one of 1 bit."""
    (bits,) = struct.unpack_from("<H", file_content(image)[:_BMP_BITS_END], _BMP_BITS_END - 2)
    if bits in {4, 8}:
        way = "P" if bits == 8 else "P;4"
        image._mode = "P"
        image.palette = ImagePalette.ImagePalette("RGB", bytes([0, 0, 0, 255, 255, 255]))
        (tile,) = image.tile
        assert isinstance(tile.args, tuple)
        image.tile = [tile._replace(args=(way, *tile.args[1:]))]


@contextmanager
def _as_user_error(name: str) -> Iterator[None]:
    """Turn whatever fails into one line that names the file."""
    try:
        yield
    except UserError:
        raise
    except UnusableError as error:
        raise error.of(name) from None
    # Damaged files make the decoders fail in many ways (OSError, SyntaxError, struct.error, IndexError ...).
    except Exception as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{name}: no such file")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        limit = f"{PIXEL_LIMIT // 1_000_000} million pixels, or {SIDE_LIMIT} on a side"
        return TooManyPixelsError(f"{name}: has more than {limit}; make it smaller")
    if isinstance(error, UnidentifiedImageError):
        kinds = "JPEG, PNG, BMP, TIFF, WebP or DICOM"
        return UserError(f"{name}: not an image that can be read ({kinds}); save other kinds, such as HEIC, as JPEG")
    # Where the system gave it: no permission, a link in a circle, a name too long.
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{name}: {error.strerror}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{name}: cannot be decoded ({reason}); the file is damaged or of an unusual kind")


def _is_sideways_by_header(image: Image.Image) -> bool:
    # Pillow gives the size of a TIFF as it will be turned.
    return image.format != "TIFF" and _may_be_turned(image) and _orientation(image) in SIDEWAYS


def _may_be_turned(image: Image.Image) -> bool:
    """Spare a PNG the decoding of its pixels, behind which Pillow would look for an orientation, if there is none."""
    if not isinstance(image, PngImagePlugin.PngImageFile):
        return True
    content = file_content(image)
    return any(name in content for name in _PNG_TEXTS)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # A damaged EXIF block says nothing about the orientation and leaves the pixels whole.
    except Exception:
        return 1
