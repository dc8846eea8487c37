"""The pixels of a DICOM photograph: from the way they are stored to 8-bit RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import processing, utils

from mbdcnn.data.images.kinds import UnusableError
from mbdcnn.data.images.limits import load
from mbdcnn.data.images.modes import used_bits

Pixels: TypeAlias = npt.NDArray[Any]
"""8 or 16 bits without sign; h w for one sample a pixel, else h w 3."""

_UNCOMPRESSED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian}
_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
_LOSSLESS_JPEG = {uid.JPEGLossless, uid.JPEGLosslessSV1}
_JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}


@dataclass(frozen=True)
class Layout:
    """What a header says of the pixels."""

    width: int
    height: int
    samples: int
    bits_allocated: int
    bits_stored: int
    low_bit: int
    """The lowest of these bits."""
    planes_apart: bool
    colours: str
    """The photometric interpretation."""
    syntax: uid.UID

    @property
    def length(self) -> int:
        """Bytes of the uncompressed pixels; where pairs share their colour that is two for each pixel."""
        samples = 2 if self.colours == "YBR_FULL_422" else self.samples
        return self.width * self.height * samples * self.bits_allocated // 8


def name_of(code: uid.UID, unknown: str) -> str:
    """Give a code's name in the standard; codes outside it may tell of a hospital."""
    return f"'{code.name}'" if code.name != code else unknown


def unpacked(header: Dataset, layout: Layout, data: bytes | memoryview) -> Pixels:
    """Undo the compression."""
    if layout.syntax in _UNCOMPRESSED:
        return _uncompressed(header, layout, data)
    if layout.syntax == uid.RLELossless:
        return _run_lengths(layout, bytes(data))
    if layout.syntax in _JPEG | _LOSSLESS_JPEG | _JPEG_2000:
        return _coded(layout, bytes(data))
    way = name_of(layout.syntax, "a way of its own")
    raise UnusableError(f"a DICOM file stored as {way}, which is not read; save it as Explicit VR Little Endian")


def _uncompressed(header: Dataset, layout: Layout, data: bytes | memoryview) -> Pixels:
    if layout.colours == "YBR_FULL_422" and layout.width % 2:
        raise UnusableError("a DICOM file of odd width in pairs of pixels; save it as RGB")
    _check_length(layout, data)
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.PixelRepresentation, header.PlanarConfiguration = 0, int(layout.planes_apart)
    # As if all bits were used: otherwise pydicom clears those above the ones stored, wherever these begin.
    header.BitsStored = layout.bits_allocated
    header.PixelData = bytes(data[: layout.length])
    return utils.pixel_array(header, index=0, raw=True)


def _check_length(layout: Layout, data: bytes | memoryview) -> None:
    """Raise an UnusableError unless so many bytes are there as the header asks for, and at most padding behind them."""
    there, asked = len(data), layout.length
    row = layout.length // layout.height
    if there == asked or (asked < there < asked + row and not any(data[asked + 1 :])):
        return
    samples = f"{layout.samples} samples of {layout.bits_allocated} bits"
    said = f"{layout.colours}, {layout.width}x{layout.height} pixels, {samples}"
    if there < asked:
        raise UnusableError(
            f"a DICOM file of {there} bytes of pixels where its header ({said}) asks for {asked}: pixels are missing, "
            "or the header is wrong; copy or export it again"
        )
    mismatch = f"a DICOM file of {there} bytes of pixels where its header ({said}) asks for {asked}"
    if layout.colours == "YBR_FULL_422" and there >= asked // 2 * 3:
        raise UnusableError(
            f"{mismatch}; they are RGB or YBR_FULL rather. Say which, such as RGB (and compare the colours):",
            "import sys, pydicom; d = pydicom.dcmread(sys.argv[1], force=True); d.PhotometricInterpretation = 'RGB'; "
            "d.save_as(sys.argv[1])",
        )
    raise UnusableError(f"{mismatch}; export it again")


def _run_lengths(layout: Layout, frame: bytes) -> Pixels:
    """Unpack DICOM's RLE (PS3.5 annex G): PackBits, one segment for each byte of each sample.

    Not by pydicom, which unpacks a small segment to gigabytes before it looks at the size.
    """
    depth = layout.bits_allocated // 8
    count, *starts = struct.unpack_from("<16I", frame)
    if count != layout.samples * depth:
        raise UnusableError("a damaged DICOM file: its RLE header is wrong; export it again")
    bounds = [*starts[:count], len(frame)]
    # One long row, for there are writers whose runs go on from row to row.
    row = (layout.width * layout.height, 1)
    planes = [
        np.asarray(Image.frombytes("L", row, frame[start:end], "packbits", "L")) for start, end in pairwise(bounds)
    ]
    stacked = np.stack(planes, axis=-1).reshape(layout.height, layout.width, layout.samples, depth)
    # The upper byte comes first.
    pixels = stacked[..., 0] if depth == 1 else stacked.view(">u2")[..., 0]
    return pixels if layout.samples == 3 else pixels[..., 0]


def _coded(layout: Layout, frame: bytes) -> Pixels:
    """Decode JPEG or JPEG 2000 by Pillow, which is what pydicom would do but for lossless JPEG."""
    formats = ["JPEG2000"] if layout.syntax in _JPEG_2000 else ["JPEG"]
    try:
        image = Image.open(BytesIO(frame), formats=formats)
        if image.size != (layout.width, layout.height):
            raise UnusableError("a damaged DICOM file: header and pixels give different sizes; export it again")
        if isinstance(image, JpegImagePlugin.JpegImageFile) and _means_rgb(layout, image):
            image.draft("YCbCr", None)  # which is how they are stored: nothing is converted
        load(image)
    except (OSError, ValueError):
        raise UnusableError(
            f"a DICOM file whose {layout.syntax.name} pixels are damaged or of an unusual kind"
        ) from None
    if image.mode not in ({"RGB", "YCbCr"} if layout.samples == 3 else {"L", "I;16"}):
        raise UnusableError("a damaged DICOM file: header and pixels give different colours; export it again")
    return np.asarray(image)


def _means_rgb(layout: Layout, image: JpegImagePlugin.JpegImageFile) -> bool:
    """Tell a JPEG that stores RGB though nothing in it says so; decoders take it for YCbCr."""
    unmarked = not {"jfif", "adobe"} & image.info.keys() and [part[0] for part in image.layer] == [1, 2, 3]
    return layout.colours == "RGB" and layout.syntax in _JPEG and unmarked


def to_rgb(pixels: Pixels, layout: Layout) -> Image.Image:
    """Bring grey or colours of any depth to 8-bit RGB."""
    eight = _upper_bits(pixels, layout)
    if layout.colours == "MONOCHROME1":
        eight = 255 - eight
    image = Image.fromarray(eight)
    # Pillow has made RGB of JPEG already.
    if layout.colours in {"YBR_FULL", "YBR_FULL_422"} and layout.syntax not in _JPEG:
        return Image.frombytes("YCbCr", image.size, image.tobytes()).convert("RGB")
    return image.convert("RGB")


def _upper_bits(pixels: Pixels, layout: Layout) -> npt.NDArray[np.uint8]:
    """Bring values to 8 bits; what lies above those that are stored, such as an overlay, is dropped."""
    # Of JPEG 2000 Pillow scales up what has more than 8 bits to all 16, and what has fewer to 8.
    whole = layout.syntax in _JPEG_2000 or pixels.itemsize * 8 < layout.bits_allocated
    bits, low = (8 * pixels.itemsize, 0) if whole else (layout.bits_stored, layout.low_bit)
    if bits < 8 * pixels.itemsize:
        pixels = pixels >> low & pixels.dtype.type((1 << bits) - 1)
    if bits > 8 and (largest := int(pixels.max())) < 1 << (bits - 4):
        bits = used_bits(largest)
    scaled = pixels >> (bits - 8) if bits >= 8 else pixels << (8 - bits)
    return np.ascontiguousarray(scaled, np.uint8)


def looked_up(pixels: Pixels, header: Dataset) -> Image.Image:
    """Colour pixels by the header's palette; values beyond its ends take the colour there."""
    for colour in ("Red", "Green", "Blue"):
        length, _, bits = header[f"{colour}PaletteColorLookupTableDescriptor"].value
        length = length or 1 << 16
        stored = header.get(f"{colour}PaletteColorLookupTableData")
        if stored is None or len(stored) * 8 < length * bits or bits not in {8, 16}:
            raise UnusableError("a DICOM file whose palette is not a plain table; save it as RGB")
        # Without the byte that pads it, which pydicom would take for part of an entry. Entries may be bytes or words.
        size = 2 if len(stored) >= 2 * length else 1
        setattr(header, f"{colour}PaletteColorLookupTableData", stored[: size * length])
    colours = processing.apply_color_lut(pixels, header)
    return Image.fromarray((colours >> 8 if colours.itemsize == 2 else colours).astype(np.uint8))
