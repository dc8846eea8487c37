"""Clicks and a box against lesions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from mbdcnn.inference.correction import corrected_mask
from mbdcnn.inference.prompts import Correction, Point, Rectangle

SIDE = 192
ROWS, COLUMNS = np.ogrid[:SIDE, :SIDE]


def disc(row: float, column: float, radius: float) -> np.ndarray:
    return np.hypot(ROWS - row, COLUMNS - column) <= radius


LESION, OTHER = disc(70, 70, 40), disc(145, 150, 25)
SKIN = np.random.default_rng(0).normal((205, 160, 140), 8, (SIDE, SIDE, 3))


def scene(*lesions: np.ndarray) -> np.ndarray:
    """Draw brown discs on noisy skin."""
    pixels = SKIN - sum(lesion[..., None] * np.array([90, 80, 70]) for lesion in lesions)
    return pixels.clip(0, 255).astype(np.uint8)


def asked(*points: tuple[float, float, int], box: tuple[float, ...] | None = None, size: int = SIDE) -> Correction:
    clicks = tuple(Point(x, y, bool(inside)) for x, y, inside in points)
    return Correction(size, size, None, clicks, None if box is None else Rectangle(*box))


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


WRONG = {
    "too small": (disc(70, 70, 20), (70, 40, 1)),
    "too large": (disc(70, 70, 62), (70, 121, 0)),
    "half": (LESION & (COLUMNS < 70), (90, 70, 1)),
    "shifted": (disc(70, 100, 40), (50, 70, 1)),
    "elsewhere": (disc(150, 150, 25), (70, 70, 1)),
}


@pytest.mark.parametrize(("start", "click"), WRONG.values(), ids=WRONG)
def test_one_click_recovers_most_of_a_plain_lesion(start: np.ndarray, click) -> None:
    found = corrected_mask(scene(LESION), asked(click), start)
    assert found.dtype == np.bool_
    assert jaccard(found, LESION) > max(0.75, jaccard(start, LESION) + 0.2)


def test_clicks_that_agree_change_nothing() -> None:
    both = LESION | OTHER
    agreeing = asked((70, 70, 1), (150, 145, 1), (150, 30, 0))
    assert np.array_equal(corrected_mask(scene(LESION, OTHER), agreeing, both), both)


def test_a_click_chooses_among_regions_and_leaves_their_outline() -> None:
    both = LESION | OTHER
    for click in ((70, 70, 1), (150, 145, 0)):
        assert jaccard(corrected_mask(scene(LESION, OTHER), asked(click), both), LESION) > 0.96
    # Regions close to the click are parts of one lesion.
    parts = LESION & (abs(COLUMNS - 80) > 2)
    assert np.array_equal(corrected_mask(scene(LESION), asked((76, 70, 1)), parts), parts)


def test_of_thousands_of_regions_those_at_a_click_stay() -> None:
    dots = np.indices((SIDE // 4, SIDE // 4)).sum(axis=0).repeat(2, 0).repeat(2, 1) % 2 > 0
    many = np.zeros((SIDE, SIDE), bool)
    many[: SIDE // 2, : SIDE // 2] = dots
    found = corrected_mask(scene(LESION), asked((3.5, 1, 1)), many)
    assert found[1, 3]
    # A disc of four pixels reaches one pixel, half of that is less than the way to the next.
    assert np.count_nonzero(found) <= 9


def test_a_box_chooses_among_regions() -> None:
    found = corrected_mask(scene(LESION, OTHER), asked(box=(28, 28, 112, 112)), LESION | OTHER)
    assert jaccard(found, LESION) > 0.96


@pytest.mark.parametrize("start", [np.zeros((SIDE, SIDE), bool), disc(70, 70, 8), OTHER], ids=["none", "tiny", "other"])
def test_a_box_finds_the_lesion_that_fills_it(start: np.ndarray) -> None:
    found = corrected_mask(scene(LESION), asked(box=(26, 26, 114, 114)), start)
    assert jaccard(found, LESION) > 0.85
    assert not found[:24].any()
    assert not found[:, 118:].any()


def test_a_box_is_never_empty() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    for start in (np.zeros((32, 32), bool), np.ones((32, 32), bool)):
        found = corrected_mask(noise, asked(box=(4, 6, 16, 22), size=32), start)
        assert found[14, 10]
        assert not found[:, 20:].any()


def test_a_click_is_obeyed_and_later_ones_are_too() -> None:
    points = [(70, 30, 1), (70, 130, 0), (20, 70, 0), (150, 145, 1)]
    for count in range(1, len(points) + 1):
        found = corrected_mask(scene(LESION), asked(*points[:count]), disc(70, 90, 40))
        for x, y, inside in points[:count]:
            assert found[y, x] == inside


def test_places_are_those_of_the_image_whatever_its_size() -> None:
    start = disc(70, 70, 20)
    small = corrected_mask(scene(LESION), asked((70, 40, 1)), start)
    large = corrected_mask(scene(LESION), asked((700, 400, 1), size=10 * SIDE), start)
    assert np.array_equal(small, large)


def test_logits_of_the_network_have_a_say() -> None:
    # A lesion that shows no colour is only known to the network, which is not quite sure of its right half.
    logits = np.where(LESION, np.where(COLUMNS < 70, 4.0, -0.5), -6).astype(np.float32)
    found = corrected_mask(scene(), asked((90, 70, 1)), logits)
    alone = corrected_mask(scene(), asked((90, 70, 1)), logits > 0)
    assert jaccard(found, LESION) > jaccard(alone, LESION)
    assert jaccard(found, LESION) > 0.7


@pytest.mark.parametrize("side", [16, 32, 33])
def test_small_networks_and_flat_images(side: int) -> None:
    flat = np.full((side, side, 3), 128, np.uint8)
    for start in (np.zeros((side, side), bool), np.ones((side, side), bool)):
        for inside in (0, 1):
            found = corrected_mask(flat, asked((side / 2, side / 2, inside), size=side), start)
            assert found.shape == (side, side)
            assert found[side // 2, side // 2] == inside
