from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mbdcnn.config import Views
from mbdcnn.data.crops import Box, fractions_for, reduction, squash, unique_boxes, view_boxes

RNG = np.random.default_rng(0)


def _smooth_picture(width: int, height: int) -> Image.Image:
    coarse = Image.fromarray(RNG.integers(0, 256, (height // 24, width // 24, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@given(st.integers(1, 300), st.integers(1, 300), st.lists(st.floats(0.1, 5), max_size=4))
def test_boxes_lie_in_the_picture_and_are_never_empty(width: int, height: int, fractions: list[float]) -> None:
    for box in view_boxes(width, height, fractions):
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.upper < box.lower <= height


def test_a_square_picture_has_half_the_crops() -> None:
    boxes = view_boxes(600, 600, (4, 3, 2, 1))
    unique, order = unique_boxes(boxes)
    assert len(unique) == 5
    assert [unique[place] for place in order] == boxes
    assert order == [0, 1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("label", "split", "views"),
    [
        ("nevus", "train", 9),
        ("melanoma", "train", 15),
        ("seborrheic_keratosis", "train", 15),
        (None, "train", 1),
        ("melanoma", "validation", 9),
        ("nevus", "test", 9),
        (None, "test", 9),
    ],
)
def test_number_of_views(label: str | None, split: str, views: int) -> None:
    assert len(view_boxes(640, 480, fractions_for(Views(), label, split))) == views


def test_small_crops_are_resized_like_the_plain_loop() -> None:
    picture = _smooth_picture(240, 180)
    box = Box(30, 20, 210, 161)
    plain = picture.crop(box).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(squash(picture, box, 96), np.asarray(plain))


@pytest.mark.parametrize("box", [Box(0, 0, 1201, 899), Box(101, 77, 1102, 820), Box(300, 200, 901, 801)])
def test_large_crops_stay_within_a_grey_level_of_the_plain_loop(box: Box) -> None:
    picture = _smooth_picture(1201, 899)
    plain = np.asarray(picture.crop(box).resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
    assert reduction(box, 96) > 1
    difference = np.abs(squash(picture, box, 96).astype(int) - plain)
    assert difference.mean() < 0.5
    # A shift of the sampling grid would show at the far edge first.
    assert difference[-4:, -4:].mean() < 1.5


def test_no_pixel_outside_a_crop_counts() -> None:
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[200:700, 300:800] = 200
    for side in (64, 320):
        view = squash(Image.fromarray(pixels), Box(300, 200, 800, 700), side)
        assert view.min() == view.max() == 200


@pytest.mark.parametrize(("side", "factor"), [(1000, 1), (500, 1), (224, 2), (100, 4), (10, 8)])
def test_reduction_keeps_enough_pixels(side: int, factor: int) -> None:
    assert reduction(Box(0, 0, 900, 700), side) == factor
