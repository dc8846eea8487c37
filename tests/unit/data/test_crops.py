from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mbdcnn.config import Data, Views
from mbdcnn.data.crops import (
    OVERSAMPLING,
    Box,
    fractions_for,
    least_side,
    reduction,
    squash,
    unique_boxes,
    view_boxes,
)
from mbdcnn.data.images.decoding import Decoded, decode, decode_at_least

RNG = np.random.default_rng(0)


def _smooth_image(width: int, height: int, cell: int = 24) -> Image.Image:
    coarse = Image.fromarray(RNG.integers(0, 256, (height // cell, width // cell, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@given(st.integers(1, 300), st.integers(1, 300), st.lists(st.floats(0.1, 5), max_size=4))
def test_boxes_lie_in_the_image_and_are_never_empty(width: int, height: int, fractions: list[float]) -> None:
    for box in view_boxes(width, height, fractions):
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.upper < box.lower <= height


def test_a_square_image_has_half_the_crops() -> None:
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
    image = _smooth_image(240, 180)
    box = Box(30, 20, 210, 161)
    plain = image.crop(box).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(squash(Decoded.whole(image), box, 96), np.asarray(plain))


@pytest.mark.parametrize("box", [Box(0, 0, 1201, 899), Box(101, 77, 1102, 820), Box(300, 200, 901, 801)])
def test_large_crops_stay_within_a_grey_level_of_the_plain_loop(box: Box) -> None:
    image = _smooth_image(1201, 899)
    plain = np.asarray(image.crop(box).resize((96, 96), Image.Resampling.BICUBIC)).astype(int)
    assert reduction(box, 96) > 1
    difference = np.abs(squash(Decoded.whole(image), box, 96).astype(int) - plain)
    assert difference.mean() < 0.5
    # A shift of the sampling grid would show at the far edge first.
    assert difference[-4:, -4:].mean() < 1.5


def test_no_pixel_outside_a_crop_counts() -> None:
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[200:700, 300:800] = 200
    for side in (64, 320):
        view = squash(Decoded.whole(Image.fromarray(pixels)), Box(300, 200, 800, 700), side)
        assert view.min() == view.max() == 200


@pytest.mark.parametrize(
    ("side", "factor"), [(1000, 1), (241, 1), (240, 2), (121, 2), (120, 4), (61, 4), (60, 8), (10, 8)]
)
@pytest.mark.parametrize("box", [Box(300, 150, 1200, 870), Box(150, 300, 870, 1200)])
def test_reduction_keeps_enough_pixels(box: Box, side: int, factor: int) -> None:
    assert reduction(box, side) == factor


def test_large_crops_are_averaged_in_blocks_first() -> None:
    image, box = _smooth_image(480, 360), Box(40, 20, 440, 340)
    averaged = image.reduce(2, box).resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(squash(Decoded.whole(image), box, 96), np.asarray(averaged))


def test_a_jpeg_that_was_shrunk_too_far_is_enlarged() -> None:
    shrunk = _smooth_image(120, 90)
    view = squash(Decoded(shrunk, width=960, height=720, shrunk=8), Box(0, 0, 960, 720), 300)
    np.testing.assert_array_equal(view, np.asarray(shrunk.resize((300, 300), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("further", [1, 2])
@pytest.mark.parametrize("shrunk", [2, 4, 8])
@pytest.mark.parametrize("box", [Box(0, 0, 1203, 901), Box(101, 77, 1102, 820), Box(303, 201, 907, 805)])
def test_crops_of_a_shrunk_jpeg_stay_within_a_grey_level_of_the_plain_loop(box: Box, shrunk: int, further: int) -> None:
    stream = BytesIO()
    _smooth_image(1203, 901, cell=12 * shrunk * further).save(stream, "JPEG", quality=95)
    image = decode_at_least(stream.getvalue(), 901 // shrunk)
    assert image.shrunk == shrunk
    side = int(min(box.width, box.height) / shrunk / further / OVERSAMPLING)
    plain = decode(stream.getvalue()).crop(box).resize((side, side), Image.Resampling.BICUBIC)
    difference = np.abs(squash(image, box, side) - np.asarray(plain).astype(int))
    assert difference.mean() < 1
    # A shift of the sampling grid would show at the edges first.
    for edge in (difference[:4], difference[-4:], difference[:, :4], difference[:, -4:]):
        assert edge.mean() < 2


sides = st.sampled_from([16, 32, 48, 96])
some_fractions = st.lists(st.floats(0.5, 5), max_size=3)


@given(st.integers(20, 3000), st.integers(20, 3000), sides, sides, sides, some_fractions, some_fractions)
def test_the_least_side_leaves_enough_pixels_for_every_crop(
    width: int, height: int, side: int, training: int, scale: int, usual: list[float], rare: list[float]
) -> None:
    views = Views(fractions=usual, rare_fractions=rare)
    least = least_side(Data(image_size=side, segmentation_size=training, scales=(scale,), views=views))
    shrunk = next((factor for factor in (8, 4, 2) if min(width, height) // factor >= least), 1)
    wanted = [(box, side) for box in view_boxes(width, height, usual + rare)]
    wanted += [(Box(0, 0, width, height), each) for each in (training, scale)]
    for box, each in wanted:
        # A crop of a fraction of a pixel is cut to whole pixels.
        enlarged = Box(0, 0, box.width + 1, box.height + 1)
        assert shrunk == 1 or reduction(enlarged, each) >= shrunk


def test_the_least_side_is_no_larger_than_it_must_be() -> None:
    views = Views(fractions=(4,), rare_fractions=(2.5,))
    assert least_side(Data(image_size=32, segmentation_size=48, scales=(32, 48), views=views)) == 96
    assert least_side(Data(image_size=32, segmentation_size=48, scales=(32, 80), views=views)) == 120
    assert least_side(Data(image_size=64, segmentation_size=48, scales=(32, 64), views=views)) == 192
    assert least_side(Data(image_size=32, segmentation_size=160, scales=(32, 64), views=views)) == 240
    uneven = Views(fractions=(4,), rare_fractions=(3.5,))
    assert least_side(Data(image_size=64, segmentation_size=48, scales=(32, 64), views=uneven)) == 138
    whole = Views(fractions=(), rare_fractions=())
    assert least_side(Data(image_size=64, segmentation_size=48, scales=(32, 64), views=whole)) == 96
