from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mbdcnn.evaluation.skin import CLASSES, to_lab, tone_class, typology_angle

LIGHT, DARK = (228, 196, 176), (96, 66, 48)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    assert to_lab(np.array([[rgb]], np.uint8))[0, 0] == pytest.approx(lab, abs=0.02)


def angle_of(colour: tuple[int, int, int]) -> float:
    light, _, yellow = to_lab(np.array(colour, np.uint8))
    return math.degrees(math.atan2(light - 50, yellow))


def image(skin: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Skin with a lesion in it, hairs over it, dark corners and a pen's mark."""
    drawn = Image.new("RGB", (120, 90))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((-12, -22, 132, 112), fill=skin)
    draw.ellipse((45, 30, 75, 60), fill=(70, 45, 40))
    for x in range(0, 120, 30):
        draw.line((x, 0, x + 25, 90), fill=(25, 20, 18), width=2)
    lesion = Image.new("1", (120, 90))
    ImageDraw.Draw(lesion).ellipse((45, 30, 75, 60), fill=1)
    return np.asarray(drawn), np.asarray(lesion)


@pytest.mark.parametrize("skin", [LIGHT, DARK, (180, 140, 110)])
def test_the_angle_is_that_of_the_skin_alone(skin: tuple[int, int, int]) -> None:
    assert typology_angle(*image(skin)) == pytest.approx(angle_of(skin), abs=0.5)


def test_light_skin_has_the_larger_angle() -> None:
    assert typology_angle(*image(LIGHT)) > 41 > -20 > typology_angle(*image(DARK))


def test_an_image_full_of_lesion_has_no_skin_tone() -> None:
    pixels, _ = image(LIGHT)
    assert typology_angle(pixels, np.ones(pixels.shape[:2], bool)) is None
    assert typology_angle(np.zeros_like(pixels), np.zeros(pixels.shape[:2], bool)) is None
    assert tone_class(None) is None


def test_classes_follow_their_bounds() -> None:
    names = [tone_class(float(angle)) for angle in (90, 56, 55, 42, 41, 29, 28, 11, 10, -29, -30, -90)]
    order = [name for _, name in CLASSES]
    assert names == [order[i] for i in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)]
