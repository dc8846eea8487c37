"""What is a mask and what is none, in every way it may be stored."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from bad_images import saved
from mbdcnn.data.images.decoding import read_mask
from mbdcnn.data.images.kinds import UnusableError
from mbdcnn.data.images.masks import lesion_in
from mbdcnn.data.synthetic import draw
from mbdcnn.errors import UserError

SIZE = (320, 240)


def outline(scale: int = 1, radius: float = 0.2) -> Image.Image:
    """Draw a mask of 0 and 255, off the middle."""
    mask = Image.new("L", (SIZE[0] * scale, SIZE[1] * scale), 0)
    x, y, r = 0.4 * mask.width, 0.45 * mask.height, radius * mask.height
    ImageDraw.Draw(mask).ellipse((x - 1.3 * r, y - r, x + 1.3 * r, y + r), fill=255)
    return mask


MASK = outline()
TRUTH = np.asarray(MASK) > 0
ZEROS = Image.new("L", SIZE, 0)


def through(image: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    """Save an image and open it again."""
    opened = Image.open(BytesIO(saved(image, kind, **options)))
    opened.load()
    return opened


def bmp(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "BMP")
    return stream.getvalue()


def jaccard(image: Image.Image, truth: npt.NDArray[np.bool_] = TRUTH) -> float:
    lesion = np.asarray(lesion_in(image).image)
    return float((lesion & truth).sum() / (lesion | truth).sum())


def of_values(skin: int, lesion: int, kind: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(TRUTH, lesion, skin).astype(kind))


def of_colours(skin: tuple[int, ...], lesion: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(TRUTH[..., None], lesion, skin).astype(np.uint8))


def with_palette(skin: int, colours: list[int]) -> Image.Image:
    image = Image.fromarray(np.where(TRUTH, 1 - skin, skin).astype(np.uint8))
    image.putpalette(colours)
    return image


VIRIDIS, REVERSED = [68, 1, 84, 253, 231, 37], [253, 231, 37, 68, 1, 84]
PHOTOGRAPH = draw(np.random.default_rng(0), "nevus", SIZE)[0]

TWO_VALUES = {
    "0 and 1": of_values(0, 1),
    "0 and 255": MASK,
    "100 and 200": of_values(100, 200),
    "254 and 255": of_values(254, 255),
    "one bit": MASK.convert("1"),
    "16 bits": of_values(0, 1, np.uint16),
    "16 bits, all of them": of_values(0, 65535, np.uint16),
    "32 bits": of_values(0, 7, np.int32),
    "fractions": of_values(0, 1, np.float32),
    "red on black": of_colours((0, 0, 0), (200, 0, 0)),
    "yellow on purple": of_colours((68, 1, 84), (253, 231, 37)),
    "CMYK": MASK.convert("RGB").convert("CMYK"),
    "palette, lesion is entry 1": with_palette(0, VIRIDIS),
    "palette, lesion is entry 1 and darker": with_palette(0, REVERSED),
    "palette of black and white, white first": with_palette(1, [255, 255, 255, 0, 0, 0]),
    "palette of black and red, red first": with_palette(1, [128, 0, 0, 0, 0, 0]),
    "palette of one colour twice": with_palette(0, [0, 0, 0, 0, 0, 0]),
    "white, the lesion opaque": Image.merge("LA", (Image.new("L", SIZE, 255), MASK)),
    "black, the lesion opaque": Image.merge("LA", (ZEROS, MASK)),
    "alpha forgotten at 0": Image.merge("RGBA", (MASK, MASK, MASK, ZEROS)),
    "alpha 128 everywhere": Image.merge("RGBA", (MASK, MASK, MASK, Image.new("L", SIZE, 128))),
    "cut out of its photograph": Image.merge("RGBA", (*PHOTOGRAPH.split(), MASK)),
}


@pytest.mark.parametrize("kind", TWO_VALUES)
def test_two_values_are_skin_and_lesion_whatever_they_are(kind: str) -> None:
    image = TWO_VALUES[kind]
    opened = through(image, "TIFF" if image.mode in {"F", "I", "CMYK"} else "PNG")
    assert jaccard(opened) == 1
    assert lesion_in(opened).grey == (kind == "cut out of its photograph")


def test_the_brighter_value_is_the_lesion() -> None:
    assert jaccard(through(ImageOps.invert(MASK)), ~TRUTH) == 1


@pytest.mark.parametrize("place", [(0, 0), (100, 100), (239, 319)])
def test_a_lesion_of_one_pixel(place: tuple[int, int]) -> None:
    truth = np.zeros((240, 320), bool)
    truth[place] = True
    assert jaccard(Image.fromarray(truth.astype(np.uint8)), truth) == 1


def test_a_lesion_of_a_few_pixels_with_smooth_edges() -> None:
    pixels = np.zeros((240, 320), np.uint8)
    pixels[100:103, 150:153] = [[20, 80, 20], [80, 255, 175], [20, 76, 20]]
    assert jaccard(Image.fromarray(pixels), pixels > 127) == 1


@pytest.mark.parametrize("colours", [[0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0], [0, 0, 0, 0, 255, 0]])
def test_a_bmp_of_eight_bits_and_two_colours(colours: list[int]) -> None:
    content = bmp(with_palette(int(colours[0] > 0), colours))
    assert content[28] == 8
    np.testing.assert_array_equal(np.asarray(read_mask(content).image), TRUTH)


@pytest.mark.parametrize("value", [0, 1, 128, 255])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_value_is_all_skin_or_all_lesion(value: int, mode: str) -> None:
    lesion = np.asarray(lesion_in(through(Image.new(mode, SIZE, value if mode == "L" else (value,) * 3))).image)
    assert lesion.all() if value else not lesion.any()


@pytest.mark.parametrize(("value", "full"), [(0, False), (1, False), (254, True), (255, True)])
def test_a_jpeg_of_one_value_may_be_a_little_off(value: int, full: bool) -> None:
    lesion = np.asarray(lesion_in(through(Image.new("L", SIZE, value), "JPEG")).image)
    assert (lesion.all(), lesion.any()) == (full, full)


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("radius", [0.03, 0.2, 0.4])
def test_what_was_a_jpeg_once_is_cut_at_half(quality: int, again: bool, radius: float) -> None:
    mask = outline(radius=radius)
    image = through(mask, "JPEG", quality=quality)
    assert jaccard(through(image) if again else image, np.asarray(mask) > 0) > 0.99
    assert lesion_in(image).grey


@pytest.mark.parametrize("colours", [("black", "red"), ("navy", "yellow"), ("black", "white")])
def test_a_jpeg_of_two_colours(colours: tuple[str, str]) -> None:
    assert jaccard(through(ImageOps.colorize(MASK, *colours), "JPEG", quality=80)) > 0.99


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("way", ["BILINEAR", "BICUBIC", "LANCZOS", "HAMMING"])
def test_resized_masks_are_cut_at_half(factor: int, way: str) -> None:
    small = MASK.resize((SIZE[0] // factor, SIZE[1] // factor), Image.Resampling[way])
    image = through(small.resize(SIZE, Image.Resampling[way]))
    assert lesion_in(image).grey
    assert jaccard(image) > 0.97
    assert lesion_in(small).grey


def soft(width: int) -> Image.Image:
    """Make a map of probabilities whose edge is so many pixels wide."""
    blurred = np.asarray(outline(2).filter(ImageFilter.GaussianBlur(width)), float) / 255
    return Image.fromarray((255 / (1 + np.exp(-(blurred - 0.5) * 10))).astype(np.uint8))


def labels(*values: int) -> Image.Image:
    """Make a map of skin, lesion and hair: lines all over the skin."""
    skin, lesion, hair = values
    image = np.where(TRUTH, lesion, skin).astype(np.uint8)
    image[:, ::40][~TRUTH[:, ::40]] = hair
    return Image.fromarray(image)


def with_a_ring(skin: int, lesion: int, ring: int) -> Image.Image:
    """Leave what is around the lesion undecided, as some data sets do."""
    around = np.asarray(MASK.filter(ImageFilter.MaxFilter(5))) > 0
    return Image.fromarray(np.where(TRUTH, lesion, np.where(around, ring, skin)).astype(np.uint8))


def of_three_colours() -> Image.Image:
    image = np.array(of_colours((0, 0, 0), (255, 0, 0)))
    image[:60, :80] = (0, 255, 0)
    return Image.fromarray(image)


NOISE = np.random.default_rng(0).integers(0, 256, (240, 320), np.uint8)
NONE: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "soft map": (lambda: soft(16), "has shades of grey beyond edges"),
    "soft map of 16 bits": (lambda: Image.fromarray(np.asarray(soft(16)).astype(np.uint16) * 257), "shades of grey"),
    "soft map of fractions": (lambda: Image.fromarray(np.asarray(soft(16), np.float32) / 255), "shades of grey"),
    "soft spot": (lambda: outline(radius=0.02).filter(ImageFilter.GaussianBlur(12)), "shades of grey"),
    "labels 0, 1, 2": (lambda: labels(0, 1, 2), r"holds 3 classes \(values 0, 1, 2\).*255 where the lesion is"),
    "labels 0, 2, 1": (lambda: labels(0, 2, 1), "holds 3 classes"),
    "labels 0, 255, 128": (lambda: labels(0, 255, 128), "holds 3 classes"),
    "0, 1 and 255 around it": (lambda: with_a_ring(0, 1, 255), "holds 3 classes"),
    "three colours": (of_three_colours, r"holds 3 classes \(values 0/0/0, 0/255/0, 255/0/0\)"),
    "labels in ten shades": (lambda: Image.fromarray(NOISE // 26), "shades of grey"),
    "photograph": (lambda: PHOTOGRAPH, "colours, as a photograph does; name the file of the mask"),
    "grey photograph": (lambda: PHOTOGRAPH.convert("L"), "or a photograph"),
    "thumbnail": (lambda: PHOTOGRAPH.resize((64, 48)), "photograph"),
    "noise": (lambda: Image.fromarray(NOISE), "shades of grey"),
    "no numbers": (lambda: Image.fromarray(np.full((9, 9), np.nan, np.float32)), "are no numbers"),
}


@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_mask_is_refused_with_the_reason(kind: str) -> None:
    made, reason = NONE[kind]
    with pytest.raises(UnusableError, match=reason):
        lesion_in(made())


def test_a_photograph_with_a_transparent_surround_of_many_steps_is_none() -> None:
    alpha = Image.fromarray(np.tile(np.arange(240, dtype=np.uint8)[:, None], (1, 320)))
    with pytest.raises(UnusableError, match="photograph"):
        lesion_in(Image.merge("RGBA", (*PHOTOGRAPH.split(), alpha)))


def test_zeros_and_ones_do_not_survive_a_jpeg() -> None:
    image = through(of_values(0, 1), "JPEG", quality=90)
    with pytest.raises(UnusableError, match=r"less than 64 grey levels .* save the mask as PNG"):
        lesion_in(image)


def test_the_remedy_makes_a_mask_of_a_soft_map(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "it's soft.png"
    soft(16).save(file)
    with pytest.raises(UserError, match="shades of grey") as caught:
        read_mask(file)
    _, option, program, argument = shlex.split(str(caught.value).partition("becomes a mask by: ")[2])
    assert (option, argument) == ("-c", str(file))
    monkeypatch.setattr("sys.argv", ["-c", argument])
    exec(program)
    truth = np.asarray(outline(2)) > 0
    lesion = np.asarray(read_mask(file).image)
    assert (lesion & truth).sum() / (lesion | truth).sum() > 0.95
