"""Images as strangers send them: odd ones of every format, and thousands of damaged ones, the same for one seed."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from pydicom import uid

from dicom_files import lesion, palette, run_lengths
from dicom_files import photograph as photograph_of_its_own

Rng = np.random.Generator


class BadImage(NamedTuple):
    """A file."""

    name: str
    content: bytes
    kind: str
    """What it is, or what was done to it."""
    whole: bool = False
    """Whether nothing is wrong with it, however odd it is."""


def bad_images(seed: int, count: int) -> Iterator[BadImage]:
    """Give so many files: some odd but whole ones, the bombs, and damaged ones to fill up."""
    rng = np.random.default_rng(seed)
    whole, bombs = list(whole_images().items()), list(small_bombs().items())
    fixed = [*[(*each, True) for each in whole], *[(*each, False) for each in bombs]]
    if count < 3 * len(fixed):
        fixed = [fixed[place] for place in rng.permutation(len(fixed))[: count // 2]]
    for number, (kind, content, is_whole) in enumerate(fixed):
        yield BadImage(_name(number, kind, rng), content, kind, is_whole)
    for number in range(len(fixed), count):
        kind, content = whole[rng.integers(len(whole))]
        change = CHANGES[number % len(CHANGES)]
        damaged = change(content, rng)
        yield BadImage(_name(number, kind, rng), damaged, f"{kind}, {change.__name__}", damaged == content)


NAMES = (
    "plain{}", "with spaces {} and more", "ümläut-日本-🙂-{}", "line\nbreak{}", "-leading-dash{}", "=1+1|cmd'{}",
    "'quote\"{}", "tab\tand\x1b[31mcolour{}", "..{}", "%s%n{{}}{}", "bytes\udcff\udcfe{}", "UPPER{}", "x" * 230 + "{}",
    "right\u202eleft{}", "$(touch gone){}", "a;b&c{}", "semi,colon{}", ".hidden{}", "trailing dot.{}",
    "two.suffixes.tar{}",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpg", ".png", ".tif", ".bmp", ".webp", ".gif", ".dcm", ".JPEG", ".TIFF")


def _name(number: int, kind: str, rng: Rng) -> str:
    """Give each file a name of its own; half of the suffixes are those of another format."""
    suffix = f".{kind.split()[0]}" if rng.integers(2) else SUFFIXES[rng.integers(len(SUFFIXES))]
    return NAMES[number % len(NAMES)].format(number) + suffix


@cache
def whole_images() -> dict[str, bytes]:
    """Give a file of each kind that is whole, by what it is; the first word is its usual suffix."""
    made = {f"{suffix} {what}": content for suffix, what, content in [*_plain(), *_odd(), *_shapes(), *_dicom()]}
    return made


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    # A copy, because saving leaves settings of one format for the next.
    image.copy().save(stream, kind, **options)
    return stream.getvalue()


def _image(width: int = 60, height: int = 44) -> Image.Image:
    return Image.fromarray(lesion(60, 44)).resize((width, height))


MODES = {
    "png": ("PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    "bmp": ("BMP", ("1", "L", "P", "RGB", "RGBA")),
    "tif": ("TIFF", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "YCbCr", "LAB")),
    "jpg": ("JPEG", ("L", "RGB", "CMYK")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "gif": ("GIF", ("L", "P", "RGBA")),
    "jp2": ("JPEG2000", ("L", "RGB", "RGBA", "I;16")),
}


def _plain() -> Iterator[tuple[str, str, bytes]]:
    for suffix, (kind, modes) in MODES.items():
        for mode in modes:
            yield suffix, mode, saved(_in_mode(mode), kind)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "raw"):
        yield "tif", compression, saved(_image(), "TIFF", compression=compression)


def _in_mode(mode: str) -> Image.Image:
    if mode in {"I;16", "I"}:
        grey = np.asarray(_image().convert("L"))
        return Image.fromarray(grey.astype(np.uint16 if mode == "I;16" else np.int32) * 256 + 99)
    if mode == "LAB":
        return Image.merge("LAB", _image().split())
    return _image().convert(mode)


def _odd() -> Iterator[tuple[str, str, bytes]]:
    image = _image()
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = made[:24] + bytes(12) + made[36:]  # without the time it was made at
    for number in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        suffix, kind = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"))[number % 3]
        yield suffix, f"turned {number}", saved(image, kind, exif=exif.tobytes())
    for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("tif", "TIFF"), ("webp", "WEBP")):
        yield suffix, "with a profile", saved(image, kind, icc_profile=profile)
        yield suffix, "with a profile that is none", saved(image, kind, icc_profile=b"no profile" * 9)
        if suffix != "tif":
            yield suffix, "with EXIF that is none", saved(image, kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01\x02")
    yield "jpg", "progressive", saved(image, "JPEG", progressive=True)
    yield "jpg", "cmyk with a profile", saved(image.convert("CMYK"), "JPEG", icc_profile=profile)
    yield "jpg", "of four tables", saved(image, "JPEG", quality=100, subsampling=0, comment=b"x" * 999)
    yield "jpg", "of two images", saved(image, "MPO", save_all=True, append_images=[_image().rotate(90)])
    for suffix, kind in (("gif", "GIF"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
        frames = [_image().rotate(90), _image()]
        yield suffix, "animated", saved(image, kind, save_all=True, append_images=frames)
    index = image.quantize(8)
    yield "png", "palette with transparency", saved(index, "PNG", transparency=bytes(range(0, 256, 36)))
    yield "png", "rgb with a transparent colour", saved(image, "PNG", transparency=(0, 0, 0))
    yield "gif", "with a transparent colour", saved(index, "GIF", transparency=3)
    yield "bmp", "run lengths", _bmp_of_runs()
    yield "png", "text after it", saved(image, "PNG") + b"trailing" * 99


def _shapes() -> Iterator[tuple[str, str, bytes]]:
    for width, height in ((1, 1), (1, 10_000), (10_000, 1), (2, 3), (1, 2), (65_000, 1), (300, 200)):
        yield "png", f"{width}x{height}", saved(_image(width, height), "PNG")
        yield "jpg", f"{width}x{height}", saved(_image(width, height), "JPEG")


def _dicom() -> Iterator[tuple[str, str, bytes]]:
    colour = lesion()
    grey = np.ascontiguousarray(colour[..., 0])
    yield "dcm", "rgb", photograph(colour)
    yield "dcm", "implicit", photograph(colour, syntax=uid.ImplicitVRLittleEndian)
    yield "dcm", "grey", photograph(grey, "MONOCHROME2")
    yield "dcm", "inverse 16 bit", photograph(grey.astype(np.uint16) * 200, "MONOCHROME1")
    yield "dcm", "palette", photograph(grey, "PALETTE COLOR", **palette(colour[0, :40].repeat(7, 0)[:256]))
    jpeg = saved(Image.fromarray(colour), "JPEG")
    yield "dcm", "jpeg", photograph(colour, "YBR_FULL_422", uid.JPEGBaseline8Bit, jpeg)
    yield "dcm", "jpeg 2000", photograph(colour, "YBR_RCT", uid.JPEG2000Lossless, saved(_image(), "JPEG2000"))
    yield "dcm", "runs", photograph(colour, syntax=uid.RLELossless, frame=run_lengths(colour))


def photograph(*arguments: Any, **elements: Any) -> bytes:
    """Write a DICOM file that is the same each time."""
    numbers = {f"{name}InstanceUID": f"1.2.{place}" for place, name in enumerate(("SOP", "Study", "Series"))}
    return photograph_of_its_own(*arguments, **elements, **numbers)


def _bmp_of_runs() -> bytes:
    rows = b"".join(b"\x3c" + bytes([row]) + b"\0\0" for row in range(44)) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, 60, 44, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(rows), 0, 0, 1078) + header + bytes(range(256)) * 4 + rows


DEEPER = b"\x40\x00\x55\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
"""The begin of a DICOM sequence and of an item in it."""


@cache
def small_bombs() -> dict[str, bytes]:
    """Give files of kilobytes that ask for gigabytes or hours, or are something else."""
    jpeg = saved(_image(), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr(zipfile.ZipInfo("x.jpg"), jpeg)
    return {
        "png of 3600 million pixels": png(60_000, 60_000, rows=1),
        "png of one column": png(1, 1_000_000),
        "png of one row": png(100_000, 1),
        "png of compressed text": png(60, 44, extra=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
        "png of a compressed profile": png(60, 44, extra=_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
        "jpg of 4295 million pixels": jpeg[:frame] + b"\xff\xff\xff\xff" + jpeg[frame + 4 :],
        "jpg of many scans": jpeg_of_scans(600, 2000),
        "dcm of a jpeg of many scans": photograph(
            np.zeros((600, 600), np.uint8), "MONOCHROME2", uid.JPEGExtended12Bit, jpeg_of_scans(600, 2000)
        ),
        "gif of 4295 million pixels": b"GIF89a\xff\xff\xff\xff\xf0" + bytes(8) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1;",
        "bmp of 4295 million pixels": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 65535, 65535, 1, 24, *[0] * 6),
        "tif of one tile": tiff_of_a_tile(16, 5_000),
        "tif that leads in a circle": b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x10\0\0\0\x08\0\0\0",
        "dcm of 4295 million pixels": photograph(lesion(), Rows=65_535, Columns=65_535),
        "dcm of deep sequences": photograph(lesion())[:600] + DEEPER * 9000,
        "ppm of numbers in words": b"P3 300 300 255\n" + b"1 " * 270_000,
        "svg": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa">]><svg>&a;</svg>',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "jpg that is a zip file": archive.getvalue(),
        "jpg that is a page": b"<!DOCTYPE html><title>404</title>",
        "png of nothing": b"",
        "png of one byte": b"\x89",
        "jpg of noughts": bytes(10_000),
    }  # fmt: skip


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    width: int, height: int, depth: int = 8, colours: int = 0, rows: int | None = None, extra: bytes = b""
) -> bytes:
    """Write a black PNG of any size in a thousandth of it; `colours` is its colour type."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    row = bytes(1 + (width * depth * samples + 7) // 8)
    left, batch = height if rows is None else rows, max(1, (1 << 20) // len(row))
    press = zlib.compressobj(1)
    parts = []
    while left > 0:
        parts.append(press.compress(row * min(batch, left)))
        left -= batch
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    pixels = _chunk(b"IDAT", b"".join([*parts, press.flush()]))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + pixels + _chunk(b"IEND", b"")


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """Repeat the last scan of a grey progressive JPEG, each a walk over all pixels for a few bytes."""
    whole = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * scans + whole[-2:]


def tiff_of_a_tile(side: int, tile: int) -> bytes:
    """Write a small image in one tile of any size."""
    press = zlib.compressobj(1)
    pixels = b"".join([*(press.compress(bytes(tile)) for _ in range(tile)), press.flush()])
    values = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 8, 325: len(pixels)}
    entries = b"".join(struct.pack("<HHII", name, 4, 1, value) for name, value in values.items())
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(values)) + entries + bytes(4)


def truncated(content: bytes, rng: Rng) -> bytes:
    return content[: rng.integers(len(content))]


def some_bits(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, len(content), int(rng.choice([1, 2, 8, 64])))


def bits_of_the_head(content: bytes, rng: Rng) -> bytes:
    return _flipped(content, rng, min(200, len(content)), int(rng.integers(1, 5)))


def _flipped(content: bytes, rng: Rng, within: int, count: int) -> bytes:
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.integers(within)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def numbers(content: bytes, rng: Rng) -> bytes:
    """Put the largest and smallest numbers where sizes and places may stand."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.choice([1, 2, 4]))
        place = int(rng.integers(max(1, min(len(content), 400) - width)))
        value = (b"\xff", b"\0", b"\x7f", b"\x80", b"\1")[rng.integers(5)] * width
        changed[place : place + width] = value
    return bytes(changed)


def part_missing(content: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(len(content), size=2))
    return content[:start] + content[end:]


def part_twice(content: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(len(content), size=2))
    return content[:end] + content[start:]


def part_of_another(content: bytes, rng: Rng) -> bytes:
    others = list(whole_images().values())
    other = others[rng.integers(len(others))]
    start, end = sorted(rng.integers(min(len(content), len(other)), size=2))
    return content[:start] + other[start:end] + content[end:]


def one_byte_over_and_over(content: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(len(content), size=2))
    return content[:start] + bytes([rng.integers(256)]) * (end - start) + content[end:]


def right_checksums(content: bytes, rng: Rng) -> bytes:
    """Flip bits in a PNG and mend its checksums, without which it would be given up at once; in others just flip."""
    changed = some_bits(content, rng)
    if not content.startswith(b"\x89PNG"):
        return changed
    mended, place = bytearray(content[:8]), 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        mended += _chunk(content[place + 4 : place + 8], changed[place + 8 : place + 8 + length])
        place += 12 + length
    return bytes(mended)


CHANGES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    truncated, some_bits, bits_of_the_head, numbers, part_missing, part_twice, part_of_another, one_byte_over_and_over,
    right_checksums,
)  # fmt: skip


def odd_places(folder: Path, good: bytes) -> list[Path]:
    """Put into a folder what is called an image and is a link, a pipe, a device or a folder."""
    folder.mkdir()
    real = folder.with_name("real.png")
    real.write_bytes(good)
    links = {
        "link.png": real,
        "dangling.png": folder / "nowhere.png",
        "itself.png": folder / "itself.png",
        "circle-a.png": folder / "circle-b.png",
        "circle-b.png": folder / "circle-a.png",
        "zero.png": Path("/dev/zero"),
        "null.png": Path("/dev/null"),
        "random.png": Path("/dev/random"),
        "to-the-folder.png": folder,
        "to-the-pipe.png": folder / "pipe.png",
        "up": folder.parent,
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / ("x" * 240 + ".png")).symlink_to(real)
    return sorted(folder.iterdir())
