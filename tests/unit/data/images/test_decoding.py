from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from masks import decode_mask
from mbdcnn.data.images.decoding import decode, decode_at_least, image_size, orientation_of
from mbdcnn.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def _saved(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(format_name: str) -> None:
    options = {"lossless": True} if format_name == "WEBP" else {}
    content = _saved(Image.fromarray(PIXELS), format_name, **options)
    image = decode(content)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_respected(orientation: int, format_name: str) -> None:
    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16], corners[8:, 16:] = (255, 0, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"subsampling": 0, "quality": 95} if format_name == "JPEG" else {}
    content = _saved(Image.fromarray(corners), format_name, exif=exif.tobytes(), **options)
    turned = {
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.transpose(1, 0, 2),
        6: np.rot90(corners, -1),
        7: corners[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(corners, 1),
    }[orientation]
    image = decode(content)
    assert image_size(content) == image.size
    np.testing.assert_allclose(np.asarray(image).astype(int), turned, atol=8)
    mask = _saved(Image.fromarray(corners.max(axis=-1)), format_name, exif=exif.tobytes())
    np.testing.assert_array_equal(decode_mask(mask), turned.max(axis=-1) > 127)
    assert orientation_of(content) == orientation


def _with_its_exif_behind_the_pixels(content: bytes) -> bytes:
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    place = content.index(b"IEND") - 4
    return content[:start] + content[end:place] + content[start:end] + content[place:]


def test_a_png_may_say_behind_its_pixels_how_it_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _with_its_exif_behind_the_pixels(_saved(Image.fromarray(PIXELS), exif=exif.tobytes()))
    assert content.index(b"eXIf") > content.index(b"IDAT")
    assert image_size(content) == decode(content).size == (6, 8)


def test_sizes_are_read_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: ImageFile.ImageFile) -> None:
        raise AssertionError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    for format_name in ("PNG", "JPEG", "TIFF"):
        assert image_size(_saved(Image.fromarray(PIXELS), format_name)) == (8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "RGBA", "I;16", "I"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = np.full((4, 4), 255 if mode == "1" else 204, np.uint8)
    if mode in {"I;16", "I"}:
        image = Image.fromarray(grey.astype(np.uint16 if mode == "I;16" else np.int32) * 256 + 99)
    else:
        image = Image.fromarray(grey).convert("RGB" if mode in {"CMYK", "P"} else "L").convert(mode)
    assert image.mode == mode
    decoded = decode(_saved(image, "TIFF"))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), np.repeat(grey[..., None], 3, axis=2))


def test_transparency_lies_over_black() -> None:
    layer = np.zeros((2, 2, 4), np.uint8)
    layer[..., :3], layer[0, :, 3] = 180, 255
    np.testing.assert_array_equal(np.asarray(decode(_saved(Image.fromarray(layer))))[:, 0], [[180] * 3, [0] * 3])
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([250, 250, 250, 10, 20, 30])
    content = _saved(palette, transparency=b"\x00\xff")
    np.testing.assert_array_equal(np.asarray(decode(content))[0], [[0, 0, 0], [10, 20, 30]])


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(np.asarray(decode(content))[0, 0], [255, 0, 0])


def _photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(PIXELS).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("side", "shrunk"), [(301, 1), (300, 2), (151, 2), (150, 4), (75, 8), (1, 8)])
def test_large_jpegs_are_shrunk_as_far_as_told(side: int, shrunk: int) -> None:
    image = decode_at_least(_saved(_photo(803, 600), "JPEG"), side)
    assert (image.width, image.height, image.shrunk) == (803, 600, shrunk)
    assert image.image.size == (-(-803 // shrunk), 600 // shrunk)


def test_only_jpegs_are_shrunk() -> None:
    image = decode_at_least(_saved(_photo(160, 120)), 10)
    assert (image.width, image.height, image.shrunk) == (160, 120, 1)
    np.testing.assert_array_equal(np.asarray(image.image), np.asarray(_photo(160, 120)))


@pytest.mark.parametrize(("mode", "options"), [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})])
def test_a_shrunk_jpeg_is_the_image_only_smaller(mode: str, options: dict[str, bool]) -> None:
    content = _saved(_photo(160, 120).convert(mode), "JPEG", quality=95, **options)
    image = decode_at_least(content, 60)
    assert image.shrunk == 2
    assert image.image.mode == "RGB"
    averaged = np.asarray(decode(content).reduce(2)).astype(int)
    assert np.abs(np.asarray(image.image) - averaged).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 120), (161, 121)])
def test_a_shrunk_jpeg_is_turned_and_its_first_pixels_are_whole(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = _saved(_photo(*size), "JPEG", quality=95, exif=exif.tobytes())
    upright, image = decode(content), decode_at_least(content, 60)
    assert (image.width, image.height) == upright.size == image_size(content)
    assert image.shrunk == (1 if orientation > 1 and size == (161, 121) else 2)
    small, averaged = np.asarray(image.image).astype(int), np.asarray(upright.reduce(image.shrunk)).astype(int)
    # The last ones hold the image's edge and what the JPEG is padded with.
    assert np.abs(small - averaged)[:60, :60].mean() < 1


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_off_anywhere_is_refused_shrunk_or_not(progressive: bool) -> None:
    content = _saved(_photo(160, 120), "JPEG", progressive=progressive)

    def reason(read: Callable[[], object]) -> str | None:
        try:
            read()
        except UserError as error:
            return str(error)
        return None

    reasons = []
    for end in range(20, len(content), 97):
        reasons.append(reason(lambda end=end: decode(content[:end])))
        assert reason(lambda end=end: decode_at_least(content[:end], 10)) == reasons[-1]
    assert None not in reasons


def _claims_to_be(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 10_001), (60_000, 60_000)])
def test_decompression_bombs_are_refused(size: tuple[int, int]) -> None:
    for read in (decode, decode_mask, image_size):
        with pytest.raises(UserError, match="more than 200 million pixels"):
            read(_claims_to_be(*size))


def test_images_up_to_the_limit_are_let_through() -> None:
    assert image_size(_claims_to_be(20_000, 10_000)) == (20_000, 10_000)


JPEG = _saved(Image.fromarray(PIXELS).resize((80, 60)), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"hello, this is text", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:30], "damaged|not an image"),
        (_claims_to_be(10, 10), "damaged"),
    ],
)
def test_damage_is_told_in_one_line_that_names_the_file(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "lesion.jpg"
    file.write_bytes(content)
    for read in (decode, decode_mask):
        with pytest.raises(UserError, match=reason) as caught:
            read(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        decode(tmp_path / "nothing.jpg")
    with pytest.raises(UserError, match="a folder, pipe or device"):
        decode(tmp_path)


def test_any_damage_gives_an_image_or_a_user_error() -> None:
    rng = np.random.default_rng(1)
    contents = [JPEG, _saved(Image.fromarray(PIXELS)), _saved(Image.fromarray(PIXELS), "TIFF")]
    for content in contents * 40:
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 4):
            damaged[place] = rng.integers(256)
        for read in (decode, decode_mask, image_size):
            with contextlib.suppress(UserError):
                read(bytes(damaged))


TRUTH = np.array([[0, 1, 0], [1, 1, 0]], bool)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_every_mode(mode: str, value: int) -> None:
    grey = Image.fromarray(TRUTH.astype(np.uint8) * value)
    if mode == "P":
        grey.putpalette([0, 0, 0] + [0, 0, 9] * 255)
    elif mode == "I;16":
        grey = Image.fromarray(TRUTH.astype(np.uint16) * value)
    elif mode == "1":
        grey = Image.fromarray(TRUTH)
    else:
        grey = grey.convert(mode)
    mask = decode_mask(_saved(grey))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, TRUTH)


def test_lossy_masks_are_cut_at_half() -> None:
    truth = np.zeros((64, 64), bool)
    truth[13:41, 22:50] = True
    content = _saved(Image.fromarray(truth.astype(np.uint8) * 255), "JPEG", quality=60)
    np.testing.assert_array_equal(decode_mask(content), truth)


@pytest.mark.parametrize("format_name", ["EPS", "PDF", "TGA", "ICO"])
def test_what_is_no_photograph_is_not_even_tried(format_name: str) -> None:
    content = _saved(Image.fromarray(PIXELS).resize((32, 32)), format_name)
    with pytest.raises(UserError, match="not an image"):
        decode(content)


def test_a_tag_that_cannot_be_written_again_does_not_keep_a_photograph_from_being_turned() -> None:
    """Pillow's own `exif_transpose` writes all tags again, and fails."""
    tags = struct.pack("<H", 2) + struct.pack("<HHIi", 0x0103, 9, 1, -5) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + tags + bytes(4)
    content = _saved(Image.fromarray(PIXELS), "JPEG", exif=exif)
    with Image.open(BytesIO(content)) as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    assert decode(content).size == image_size(content) == (6, 8)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_of_sixteen_bits_the_upper_eight_of_those_that_are_used_are_taken(bits: int) -> None:
    grey = PIXELS[..., 0]
    content = _saved(Image.fromarray(grey.astype(np.uint16) << (bits - 8)))
    np.testing.assert_array_equal(np.asarray(decode(content))[..., 1], grey)
