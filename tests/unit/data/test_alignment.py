"""Masks of images that EXIF turns: drawn before or after that, told by size, by content, or refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mbdcnn.data.alignment import mask_orientations
from mbdcnn.data.images.decoding import decode, read_mask, turned
from mbdcnn.data.readers.records import Record
from mbdcnn.errors import UserError

WIDE, SQUARE = (96, 64), (80, 80)


def shape(size: tuple[int, int], x: float = 0.25, y: float = 0.3, radius: float = 0.15) -> Image.Image:
    mask = Image.new("L", size, 0)
    r = radius * min(size)
    left, top = x * size[0], y * size[1]
    ImageDraw.Draw(mask).ellipse((left - r, top - 0.8 * r, left + r, top + 0.8 * r), fill=255)
    return mask


def photographed(mask: Image.Image, skin: int = 190, lesion: int = 90, noise: float = 8) -> Image.Image:
    rng = np.random.default_rng(0)
    values = np.where(np.asarray(mask)[..., None] > 0, lesion, skin) + rng.normal(0, noise, (*mask.size[::-1], 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def record(
    folder: Path,
    stored: Image.Image,
    orientation: int,
    *,
    upright: bool,
    drawn: Image.Image | None = None,
    name: str = "a",
) -> Record:
    """Write an image whose pixels are stored in an orientation, and a mask drawn on these or upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photographed(stored).save(folder / f"{name}.png", exif=exif.tobytes())
    mask = stored if drawn is None else drawn
    (turned(mask, orientation) if upright else mask).save(folder / f"{name}_mask.png")
    return Record(name, folder / f"{name}.png", folder / f"{name}_mask.png", None, "train")


def overlap(record: Record, orientation: int) -> float:
    assert record.mask is not None
    lesion = np.asarray(read_mask(record.mask, orientation).image)
    dark = np.asarray(decode(record.image)).mean(axis=2) < 140
    return float((lesion & dark).sum() / (lesion | dark).sum())


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [WIDE, SQUARE])
def test_a_mask_lies_on_its_lesion_whatever_it_was_drawn_on(
    tmp_path: Path, size: tuple[int, int], orientation: int, upright: bool
) -> None:
    made = record(tmp_path, shape(size), orientation, upright=upright)
    (found,) = mask_orientations([made])
    assert found == (1 if upright else orientation)
    assert overlap(made, found) > 0.95


def test_a_mask_with_an_orientation_of_its_own_is_turned_by_that_alone(tmp_path: Path) -> None:
    made = record(tmp_path, shape(SQUARE), 6, upright=False)
    assert made.mask is not None
    exif = Image.Exif()
    exif[0x0112] = 6
    shape(SQUARE).save(made.mask, exif=exif.tobytes())
    assert mask_orientations([made]) == [1]
    assert overlap(made, 1) > 0.95


def test_a_mask_that_is_its_own_mirror_image_fits_either_way(tmp_path: Path) -> None:
    made = record(tmp_path, shape(WIDE, 0.5, 0.5), 3, upright=False)
    assert mask_orientations([made]) == [1]
    assert overlap(made, 1) > 0.9


@pytest.mark.parametrize("drawn", [Image.new("L", WIDE, 0), Image.new("L", WIDE, 255)])
def test_an_empty_or_full_mask_fits_either_way(tmp_path: Path, drawn: Image.Image) -> None:
    assert mask_orientations([record(tmp_path, shape(WIDE), 3, upright=True, drawn=drawn)]) == [1]


UNCLEAR = {
    "a lesion somewhere else": (shape(WIDE, 0.5, 0.8), shape(WIDE, 0.25, 0.3)),
    "no lesion to be seen": (Image.new("L", WIDE, 0), shape(WIDE)),
    "in the dark": (Image.new("L", WIDE, 255), shape(WIDE)),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_cannot_be_told_is_refused_naming_exif(tmp_path: Path, kind: str) -> None:
    stored, drawn = UNCLEAR[kind]
    made = record(tmp_path, stored, 3, upright=True, drawn=drawn)
    if kind == "in the dark":
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.new("RGB", WIDE, (9, 9, 9)).save(made.image, exif=exif.tobytes())
    with pytest.raises(UserError, match=r"a_mask\.png: EXIF turns its image \(orientation 3\)"):
        mask_orientations([made])


@pytest.mark.parametrize("way", [0, 1])
def test_the_remedy_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: int) -> None:
    stored, drawn = UNCLEAR["no lesion to be seen"]
    made = record(tmp_path, stored, 6, upright=True, drawn=drawn.resize(WIDE))
    square = record(tmp_path, Image.new("L", SQUARE, 0), 6, upright=True, drawn=shape(SQUARE), name="b")
    assert mask_orientations([made]) == [1]
    with Image.open(square.image) as image:
        pixels = image.convert("RGB")
    with pytest.raises(UserError, match="EXIF turns its image") as caught:
        mask_orientations([square])
    commands = [shlex.split(part)[0] for part in str(caught.value).split("python -c ")[1:]]
    exec(commands[way].rstrip(";"))
    assert mask_orientations([square]) == [1]
    expected = pixels if way else turned(pixels, 6)
    np.testing.assert_array_equal(np.asarray(decode(square.image)), np.asarray(expected))


def test_what_cannot_be_told_is_like_the_others_if_these_agree(tmp_path: Path) -> None:
    stored, drawn = UNCLEAR["no lesion to be seen"]
    clear = [record(tmp_path, shape(WIDE), 3, upright=False, name=f"c{number}") for number in range(3)]
    unclear = record(tmp_path, stored, 3, upright=False, drawn=drawn, name="u")
    assert mask_orientations([*clear, unclear]) == [3, 3, 3, 3]
    with pytest.raises(UserError, match="EXIF turns its image"):
        mask_orientations([*clear[:2], unclear])
    other = record(tmp_path, shape(WIDE), 3, upright=True, name="o")
    with pytest.raises(UserError, match="EXIF turns its image"):
        mask_orientations([*clear, other, unclear])


def test_a_size_that_fits_neither_way_is_refused_with_both(tmp_path: Path) -> None:
    made = record(tmp_path, shape(WIDE), 6, upright=True, drawn=shape((50, 50)))
    with pytest.raises(UserError, match=r"a mask of 50x50 pixels for an image of 64x96 \(or 96x64, before its EXIF"):
        mask_orientations([made])


def test_the_image_itself_is_no_mask(tmp_path: Path) -> None:
    made = record(tmp_path, shape(WIDE), 1, upright=True)
    assert made.mask is not None
    made.mask.write_bytes(made.image.read_bytes())
    with pytest.raises(UserError, match=r"a_mask\.png: the mask is the image itself; name the file of the mask"):
        mask_orientations([made])


def test_images_without_a_mask_are_left_alone(tmp_path: Path) -> None:
    assert mask_orientations([Record("a", tmp_path / "nowhere.png", None, 0, "train")]) == [1]
