"""How large and how laborious an image may be, and decoding within that."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

PIXEL_LIMIT = 200_000_000
"""Larger images are refused: the largest of the ISIC archive has 30 million pixels, and a few kilobytes can claim
to hold billions."""

SIDE_LIMIT = 65_535
"""What JPEG and DICOM can hold. An image of one row and a hundred million columns would take gigabytes to resample."""

SCAN_LIMIT = 100
"""Times a JPEG may go over its pixels: encoders write 1 to 20, and a small file can ask for a hundred thousand."""

TILE_LIMIT = 1 << 24
"""Pixels of a TIFF's tile beyond those of the image: a tile is decoded whole, whatever part of it is used."""

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Of a JPEG. In coded pixels FF is followed by 0 or by the number of a restart, D0 to D7."""
_END, _SCAN, _WITHOUT_CONTENT = 0xD9, 0xDA, frozenset({0x01, 0xD8})

# Pillow warns from here on; `_open` refuses. Its own default would already warn at 89 million.
Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT

Source = str | Path | bytes


def load(image: Image.Image) -> None:
    """Decode the pixels of an opened image, unless it asks for far more work than its size does.

    Raises:
        ValueError: it does.
    """
    pixels = image.width * image.height
    if isinstance(image, JpegImagePlugin.JpegImageFile) and _scans(image) > SCAN_LIMIT:
        raise ValueError(f"a JPEG of more than {SCAN_LIMIT} scans")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _tile(image) > pixels + TILE_LIMIT:
        raise ValueError("a TIFF of tiles far larger than the image")
    image.load()


def _scans(image: JpegImagePlugin.JpegImageFile) -> int:
    """Count the markers that begin a scan as a decoder meets them: up to the end marker, and not in other segments."""
    content, place, scans = file_content(image), 0, 0
    while (found := _MARKER.search(content, place)) and content[found.start() + 1] != _END:
        marker, place = content[found.start() + 1], found.end()
        scans += marker == _SCAN
        if marker not in _WITHOUT_CONTENT:
            place += int.from_bytes(content[place : place + 2], "big")
    return scans


def file_content(image: ImageFile.ImageFile) -> bytes:
    """Read a file that was opened once more, and leave it where it was."""
    if (stream := image.fp) is None:
        return b""
    place = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(place)
    return content


def _tile(image: TiffImagePlugin.TiffImageFile) -> int:
    tags = image.tag_v2
    return int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))
