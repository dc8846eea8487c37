"""Photographs in DICOM files: pydicom reads the header, Pillow the compressed pixels, and both only so much.

Needs the extra `dicom`. Headers hold a patient's data: no message says more of them than codes of the standard.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import RLock

import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from mbdcnn.data.images.dicom_pixels import Layout, looked_up, name_of, to_rgb, unpacked
from mbdcnn.data.images.kinds import UnusableError, is_dicom
from mbdcnn.data.images.limits import PIXEL_LIMIT, Source
from mbdcnn.errors import UserError

HEADER_LIMIT = 4 << 20
"""Bytes before the pixels; colour profiles and thumbnails take up to a million. pydicom needs 40 times the memory."""

ITEM_LIMIT = 10_000
"""Items of sequences, which pydicom reads at 30 microseconds and a kilobyte each."""

SPACINGS = (1e-4, 10.0)
"""Millimetres that a pixel of a photograph of skin may measure: from a tenth of a micrometre to a centimetre."""

FILE_LIMIT = 3 * PIXEL_LIMIT + HEADER_LIMIT

_PHOTOGRAPHS = {
    uid.DermoscopicPhotographyImageStorage,
    uid.VLPhotographicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_GREYS = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED_LENGTH = 0xFFFFFFFF
_quiet_lock = RLock()


def decode(source: Source, name: str) -> Image.Image:
    """Decode a photograph to 8-bit RGB; `name` is what messages call it. Of deeper pixels the upper 8 bits are taken.

    A colour profile in the header is attached to the image.

    Raises:
        UserError: it is damaged, no photograph, of several frames, or stored in a way that is not read.
        DecompressionBombError: it has more than `PIXEL_LIMIT` pixels.
    """
    with _as_user_error(name):
        content = _content(source, FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise UnusableError(f"larger than {FILE_LIMIT >> 20} MB; make it smaller")
        header, start = _read_header(content)
        layout = _layout(header)
        with quiet():
            pixels = unpacked(header, layout, _pixel_data(header, layout, memoryview(content)[start:]))
            image = looked_up(pixels, header) if layout.colours == "PALETTE COLOR" else to_rgb(pixels, layout)
            profile = header.get("ICCProfile")
        if profile and layout.samples == 3:
            image.info["icc_profile"] = bytes(profile)
        return image


def size(source: Source, name: str) -> tuple[int, int]:
    """Read width and height from the header.

    Raises:
        UserError: as for `decode`, but damage behind the header goes unseen.
        DecompressionBombError: as for `decode`.
    """
    with _as_user_error(name):
        layout = _layout(_read_header(_content(source, HEADER_LIMIT))[0])
        return layout.width, layout.height


def pixel_spacing(source: Source, name: str) -> tuple[float, float] | None:
    """Read height and width of a pixel in millimetres from the header; None where it does not say them.

    Raises:
        UserError: as for `decode`, but damage behind the header goes unseen.
    """
    with _as_user_error(name):
        header = _read_header(_content(source, HEADER_LIMIT))[0]
        with quiet():
            try:
                down, across = map(float, header.get("PixelSpacing") or ())
            except (TypeError, ValueError):
                return None
        plausible = SPACINGS[0] <= min(down, across) and max(down, across) <= SPACINGS[1]
        return (down, across) if plausible else None


def read_header(source: Source, name: str) -> Dataset:
    """Read all that stands before the pixels; use it within `quiet`.

    Raises:
        UserError: it is no DICOM file, or damaged.
    """
    with _as_user_error(name):
        content = _content(source, HEADER_LIMIT)
        if not is_dicom(content):
            raise UnusableError("not a DICOM file")
        return _read_header(content)[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what pydicom and highdicom would warn of and log to themselves: it may hold what the header says."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _as_user_error(name: str) -> Iterator[None]:
    """Turn whatever fails into one line that names the file and nothing of its content."""
    try:
        yield
    except Image.DecompressionBombError:
        raise
    except UnusableError as error:
        raise error.of(name) from None
    # Damaged headers make pydicom fail in many ways, and its messages quote them.
    except Exception:
        raise UserError(f"{name}: a damaged DICOM file; save or export it again") from None


def _content(source: Source, limit: int) -> bytes:
    if isinstance(source, bytes):
        return source
    with Path(source).open("rb") as stream:
        return stream.read(limit)


def _read_header(content: bytes) -> tuple[Dataset, int]:
    """Give the header and where the pixels' element starts."""
    head = content[:HEADER_LIMIT]
    # pydicom would inflate all of it, to a thousand times the size, before anything can be looked at.
    if uid.DeflatedExplicitVRLittleEndian.encode() in head:
        raise UnusableError("a deflated DICOM file, which is not read; save it uncompressed")
    if head.count(_ITEM) > ITEM_LIMIT:
        raise UnusableError(f"a DICOM file of more than {ITEM_LIMIT} items, which is not read")
    stream = BytesIO(head)
    with quiet():
        # Forced, because some files lack the preamble and the meta header.
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    return header, stream.tell()


def _syntax(header: Dataset) -> uid.UID:
    """Give the transfer syntax, which in a file without meta header is that of the data set itself."""
    implicit, little = header.original_encoding
    plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    syntax = uid.UID(header.file_meta.get("TransferSyntaxUID") or plain)
    if not little or syntax == uid.ExplicitVRBigEndian:
        raise UnusableError(
            "a DICOM file in big endian (Explicit VR Big Endian, retired from the standard), which is not read; "
            "convert it with DCMTK: dcmconv +te IN.dcm OUT.dcm"
        )
    return syntax


def _layout(header: Dataset) -> Layout:
    with quiet():
        syntax = _syntax(header)
        kind = uid.UID(header.get("SOPClassUID") or header.file_meta.MediaStorageSOPClassUID)
        if kind not in _PHOTOGRAPHS:
            raise UnusableError(f"a DICOM file of {name_of(kind, 'an unknown kind')}, which is no photograph")
        if int(header.get("NumberOfFrames") or 1) != 1:
            raise UnusableError("a DICOM file of several frames; export the one to look at")
        stored = int(header.BitsStored)
        high = header.get("HighBit")
        layout = Layout(
            width=int(header.Columns),
            height=int(header.Rows),
            samples=int(header.SamplesPerPixel),
            bits_allocated=16 if header.BitsAllocated == 16 else 8,
            bits_stored=stored,
            low_bit=0 if high is None else max(0, int(high) + 1 - stored),
            planes_apart=header.get("PlanarConfiguration") == 1,
            colours=str(header.PhotometricInterpretation),
            syntax=syntax,
        )
        plain = header.BitsAllocated in {8, 16} and not header.get("PixelRepresentation")
    _check(layout, plain)
    return layout


def _check(layout: Layout, plain: bool) -> None:
    if layout.width * layout.height > PIXEL_LIMIT:
        raise Image.DecompressionBombError
    if layout.colours not in _COLOURS | _GREYS:
        raise UnusableError("a DICOM file whose photometric interpretation is not read; save it as RGB")
    fits = layout.samples == (3 if layout.colours in _COLOURS else 1) and min(layout.width, layout.height) > 0
    if not (plain and fits and 0 < layout.bits_stored <= layout.bits_allocated - layout.low_bit):
        raise UnusableError("a DICOM file whose pixels are not of 8 or 16 bits without sign; save it as 8-bit RGB")


def _pixel_data(header: Dataset, layout: Layout, rest: memoryview) -> bytes | memoryview:
    """Give the value of the pixels' element: the pixels as they are, or the one compressed frame."""
    implicit, _ = header.original_encoding
    group, element, length = struct.unpack_from("<HHI" if implicit else "<HH4xI", rest)
    if (group, element) != _PIXEL_DATA:
        raise UnusableError("a DICOM file without pixels, or damaged")
    value = rest[8 if implicit else 12 :]
    if length != _UNDEFINED_LENGTH:
        return value[:length]
    if "TransferSyntaxUID" not in header.file_meta:
        raise UnusableError(
            "a DICOM file without the meta header that says how its pixels are compressed; export it again"
        )
    return next(generate_frames(bytes(value), number_of_frames=1))
