from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from bad_images import saved
from dicom_files import lesion, photograph
from mbdcnn.data.images import colour
from mbdcnn.data.images.decoding import decode, decode_at_least, decode_opened

PIXELS = lesion(300, 200)


def number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def matrix_profile(columns: tuple[tuple[float, float, float], ...], gamma: float, space: bytes = b"RGB ") -> bytes:
    """Write the smallest profile of three colours, or of grey."""

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78
    tags = [(b"desc", name + b"\0" * (-len(name) % 4)), (b"wtpt", xyz((0.9642, 1, 0.8249)))]
    if space == b"GRAY":
        tags += [(b"kTRC", curve)]
    else:
        tags += [(place + b"XYZ", xyz(values)) for place, values in zip((b"r", b"g", b"b"), columns, strict=True)]
        tags += [(place + b"TRC", curve) for place in (b"r", b"g", b"b")]
    table, body, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags:
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I", start + len(body)) + b"lcms" + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ "
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + number(0.9642) + number(1) + number(0.8249) + b"\0" * 48
    return head + table + body


ADOBE = matrix_profile(
    ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)), 2.19921875
)
DARK_GREY = matrix_profile((), 1.0, b"GRAY")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def in_adobe_rgb(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Give the values that mean the same colours in Adobe RGB."""
    profile = ImageCms.ImageCmsProfile(BytesIO(ADOBE))
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(Image.fromarray(pixels), srgb, profile, ImageCms.Intent.RELATIVE_COLORIMETRIC)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_are_those_the_profile_means(kind: str) -> None:
    stored = in_adobe_rgb(PIXELS)
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    content = saved(stored, kind, icc_profile=ADOBE, **options)
    assert np.abs(np.asarray(stored).astype(int) - PIXELS).mean() > 3
    assert np.abs(np.asarray(decode(content)).astype(int) - PIXELS).mean() < 1
    assert np.abs(np.asarray(decode_opened(Image.open(BytesIO(content)))).astype(int) - PIXELS).mean() < 1


def test_a_shrunk_jpeg_is_converted_too() -> None:
    content = saved(in_adobe_rgb(PIXELS), "JPEG", quality=98, subsampling=0, icc_profile=ADOBE)
    small = decode_at_least(content, 100)
    assert small.shrunk == 2
    averaged = np.asarray(Image.fromarray(PIXELS).reduce(2)).astype(int)
    assert np.abs(np.asarray(small.image) - averaged).mean() < 1.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_srgb_changes_nothing(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    content = saved(image, "PNG", icc_profile=SRGB)
    np.testing.assert_array_equal(np.asarray(decode(content)), np.asarray(image.convert("RGB")))
    assert not decode_at_least(content, 10).profile_ignored


def test_grey_and_its_profile() -> None:
    grey = Image.fromarray(PIXELS[..., 1])
    bright = np.asarray(decode(saved(grey, "PNG", icc_profile=DARK_GREY)))
    assert (bright[..., 0] == bright[..., 2]).all()
    assert bright.mean() > PIXELS[..., 1].mean() + 20  # linear values are far brighter than those of sRGB


def test_cmyk_with_a_profile_of_its_own_is_converted_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in, for profiles of printers are large."""

    class Transform:
        def apply(self, image: Image.Image) -> Image.Image:
            assert image.mode == "CMYK"
            return Image.new("RGB", image.size, "teal")

    monkeypatch.setattr(colour, "_conversion", lambda profile: colour._Conversion("CMYK", Transform()))
    content = saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", icc_profile=b"of a printer")
    assert decode(content).getpixel((3, 3)) == (0, 128, 128)


@pytest.mark.parametrize(
    ("image", "profile", "ignored"),
    [
        (Image.fromarray(PIXELS), b"no profile" * 9, True),
        (Image.fromarray(PIXELS), ADOBE[:150], True),
        (Image.fromarray(PIXELS), DARK_GREY, True),
        (Image.fromarray(PIXELS).convert("CMYK"), ADOBE, True),
        (Image.fromarray(PIXELS[..., 0]), ADOBE, True),
        (Image.fromarray(PIXELS[..., 0]), SRGB, False),
        (Image.fromarray(PIXELS), ADOBE + bytes(colour.PROFILE_LIMIT), True),
        (Image.fromarray(PIXELS), None, False),
    ],
)
def test_profiles_that_are_damaged_or_of_another_kind_are_ignored(
    image: Image.Image, profile: bytes | None, ignored: bool
) -> None:
    content = saved(image, "TIFF", **({} if profile is None else {"icc_profile": profile}))
    decoded = decode_at_least(content, 10)
    assert decoded.profile_ignored == ignored
    np.testing.assert_array_equal(np.asarray(decoded.image), np.asarray(image.convert("RGB")))


def test_dicom_headers_may_hold_a_profile() -> None:
    stored = np.asarray(in_adobe_rgb(PIXELS))
    content = photograph(stored, ICCProfile=ADOBE + b"\0" * (len(ADOBE) % 2))
    assert np.abs(np.asarray(decode(content)).astype(int) - PIXELS).mean() < 1
