"""The pixels of a DICOM photograph: from the way they are stored to 8-bit RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin
from pydicom import uid

from mbdcnn.data.images.limits import load

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""h w for one sample a pixel, else h w 3."""

_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
_LOSSLESS_JPEG = {uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
_UNCOMPRESSED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian}


class DicomError(Exception):
    """What is wrong with a file, to be said after its name."""


@dataclass(frozen=True)
class Layout:
    """What a header says of the pixels."""

    width: int
    height: int
    samples: int
    bits_allocated: Literal[8, 16]
    bits_stored: int
    planes_apart: bool
    colours: str
    """The photometric interpretation."""
    syntax: uid.UID

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels, h w or h w 3."""
        return (self.height, self.width) if self.samples == 1 else (self.height, self.width, self.samples)


@dataclass(frozen=True)
class Palette:
    """What pixel values mean."""

    first: int
    """The value that means the first colour."""
    colours: npt.NDArray[np.uint8]
    """n 3."""


def name_of(code: uid.UID, unknown: str) -> str:
    """Give a code's name in the standard; codes outside it may tell of a hospital."""
    return f"'{code.name}'" if code.name != code else unknown


def unpacked(layout: Layout, data: bytes | memoryview) -> Pixels:
    """Undo the compression."""
    if layout.syntax in _UNCOMPRESSED:
        return _uncompressed(layout, data)
    if layout.syntax == uid.RLELossless:
        return _run_lengths(layout, bytes(data))
    if layout.syntax in _JPEG | _LOSSLESS_JPEG | _JPEG_2000:
        return _coded(layout, bytes(data))
    way = name_of(layout.syntax, "a way of its own")
    raise DicomError(f"a DICOM file stored as {way}, which is not read; save it as Explicit VR Little Endian")


def _uncompressed(layout: Layout, data: bytes | memoryview) -> Pixels:
    kind = np.dtype(f"<u{layout.bits_allocated // 8}")
    if layout.colours == "YBR_FULL_422":
        return _at_full_width(_values(data, kind, (layout.height, layout.width // 2, 4)), layout.width)
    if layout.planes_apart and layout.samples == 3:
        return np.moveaxis(_values(data, kind, (3, layout.height, layout.width)), 0, -1)
    return _values(data, kind, layout.shape)


def _values(data: bytes | memoryview, kind: np.dtype[np.unsignedinteger], shape: tuple[int, ...]) -> Pixels:
    count = int(np.prod(shape))
    if len(data) < count * kind.itemsize:
        raise DicomError("a truncated DICOM file: pixels are missing; copy or export it again")
    pixels: Pixels = np.frombuffer(data, kind, count).reshape(shape)
    return pixels


def _at_full_width(pairs: Pixels, width: int) -> Pixels:
    """Give each of two pixels the colour they share, h w/2 4 (light, light, blue, red) to h w 3."""
    pixels = np.empty((pairs.shape[0], pairs.shape[1] * 2, 3), pairs.dtype)
    pixels[:, 0::2, 0], pixels[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
    pixels[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
    if pixels.shape[1] != width:
        raise DicomError("a DICOM file of odd width in pairs of pixels; save it as RGB")
    return pixels


def _run_lengths(layout: Layout, frame: bytes) -> Pixels:
    """Unpack DICOM's RLE (PS3.5 annex G): PackBits, one segment for each byte of each sample."""
    depth = layout.bits_allocated // 8
    count, *starts = struct.unpack_from("<16I", frame)
    if count != layout.samples * depth:
        raise DicomError("a damaged DICOM file: its RLE header is wrong; export it again")
    bounds = [*starts[:count], len(frame)]
    # One long row, for there are writers whose runs go on from row to row.
    row = (layout.width * layout.height, 1)
    planes = [
        np.asarray(Image.frombytes("L", row, frame[start:end], "packbits", "L")) for start, end in pairwise(bounds)
    ]
    stacked = np.stack(planes, axis=-1).reshape(layout.height, layout.width, layout.samples, depth)
    # The upper byte comes first.
    pixels: Pixels = stacked[..., 0] if depth == 1 else stacked.view(">u2")[..., 0]
    return pixels.reshape(layout.shape)


def _coded(layout: Layout, frame: bytes) -> Pixels:
    """Decode JPEG or JPEG 2000."""
    formats = ["JPEG2000"] if layout.syntax in _JPEG_2000 else ["JPEG"]
    try:
        picture = Image.open(BytesIO(frame), formats=formats)
        if picture.size != (layout.width, layout.height):
            raise DicomError("a damaged DICOM file: header and pixels give different sizes; export it again")
        if isinstance(picture, JpegImagePlugin.JpegImageFile) and _means_rgb(layout, picture):
            picture.draft("YCbCr", None)  # which is how they are stored: nothing is converted
        load(picture)
    except (OSError, ValueError):
        raise DicomError(f"a DICOM file whose {layout.syntax.name} pixels are damaged or of an unusual kind") from None
    if picture.mode not in ({"RGB", "YCbCr"} if layout.samples == 3 else {"L", "I;16"}):
        raise DicomError("a damaged DICOM file: header and pixels give different colours; export it again")
    return np.asarray(picture)


def _means_rgb(layout: Layout, picture: JpegImagePlugin.JpegImageFile) -> bool:
    """Tell a JPEG that stores RGB though nothing in it says so; decoders take it for YCbCr."""
    unmarked = not {"jfif", "adobe"} & picture.info.keys() and [part[0] for part in picture.layer] == [1, 2, 3]
    return layout.colours == "RGB" and layout.syntax in _JPEG and unmarked


def to_rgb(pixels: Pixels, layout: Layout) -> Image.Image:
    """Bring grey or colours of any depth to 8-bit RGB."""
    # Of JPEG 2000 Pillow scales up what has more than 8 bits to all 16, and what has fewer to 8.
    full = layout.syntax in _JPEG_2000
    eight = upper_bits(pixels, 8 * pixels.itemsize if full else layout.bits_stored)
    if layout.colours == "MONOCHROME1":
        eight = 255 - eight
    picture = Image.fromarray(eight)
    # Pillow has made RGB of JPEG already.
    if layout.colours in {"YBR_FULL", "YBR_FULL_422"} and layout.syntax not in _JPEG:
        return Image.frombytes("YCbCr", picture.size, picture.tobytes()).convert("RGB")
    return picture.convert("RGB")


def upper_bits(pixels: Pixels, bits: int) -> npt.NDArray[np.uint8]:
    """Bring values of so many bits to 8; what lies above them, such as an overlay, is dropped."""
    if bits < 8 * pixels.itemsize:
        pixels = pixels & pixels.dtype.type((1 << bits) - 1)
    scaled = pixels >> (bits - 8) if bits >= 8 else pixels << (8 - bits)
    return np.ascontiguousarray(scaled, np.uint8)


def looked_up(pixels: Pixels, palette: Palette) -> Image.Image:
    """Colour pixels by a palette; values beyond its ends take the colour there."""
    colours = np.empty((*pixels.shape, 3), np.uint8)
    # By rows, because an index takes eight times the memory of a pixel.
    for row, values in zip(colours, pixels, strict=True):
        row[:] = palette.colours[(values.astype(np.int64) - palette.first).clip(0, len(palette.colours) - 1)]
    return Image.fromarray(colours)
