"""What a person may say of a coarse mask, and what is refused."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.prompts import MOST_POINTS, Point, Prompts, Rectangle, parse_prompt

MASK = np.zeros((44, 61), bool)
MASK[10:30, 20:50] = True


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ways(folder) -> dict[str, object]:
    """Give the same mask in every way it may be given."""
    file = folder / "mask.png"
    Image.fromarray(MASK).save(file)
    grey = Image.fromarray(MASK.astype(np.uint8) * 255)
    return {
        "bool": MASK,
        "0 and 1": MASK.astype(np.uint8),
        "0 and 255": MASK.astype(np.uint8) * 255,
        "PIL, 1 bit": Image.fromarray(MASK),
        "PIL, a canvas": grey.convert("RGBA"),
        "path": file,
        "string": str(file),
        "bytes": png(grey),
    }


def test_every_way_to_give_a_mask_gives_the_same(tmp_path) -> None:
    for way, mask in ways(tmp_path).items():
        correction = Prompts(mask).check(61, 44)
        assert correction.source == "given", way
        # 61 columns are no multiple of eight.
        assert np.array_equal(correction.mask, MASK), way
        assert correction.packed.nbytes == 44 * 8


def test_points_and_box_are_taken_as_they_are() -> None:
    correction = Prompts(points=[(0, 0, 1), [60.5, 43, False], np.array([3, 4, 1])], box=(0, 0, 61, 44)).check(61, 44)
    assert correction.points == (Point(0, 0, True), Point(60.5, 43, False), Point(3, 4, True))
    assert correction.box == Rectangle(0, 0, 61, 44)
    assert (correction.source, correction.mask) == ("prompted", None)
    assert Prompts(MASK, points=[(1, 1, 1)]).check(61, 44).source == "prompted"


def test_nothing_said_is_no_correction() -> None:
    assert Prompts().check(61, 44) is None
    assert Prompts(points=[]).check(61, 44) is None


FLAT = np.zeros((44, 61), bool)
REFUSED = {
    "turned": (MASK.T, "coarse mask: 44 x 61 pixels, and its image 61 x 44; give a mask of the size"),
    "larger": (np.ones((88, 122), bool), "coarse mask: 122 x 88 pixels"),
    "empty": (FLAT, "coarse mask: empty; mark the lesion in it"),
    "floats": (MASK.astype(float), "float64 .* expected bool or uint8, height x width"),
    "colours": (np.zeros((44, 61, 3), np.uint8), "expected bool or uint8, height x width"),
    "three classes": (np.arange(3, dtype=np.uint8).repeat(900)[: 44 * 61].reshape(44, 61) * 90, "holds 3 classes"),
    "no mask": (object(), "not a mask"),
    "no image": (b"hello", "coarse mask: not an image"),
    "no file": ("absent.png", r"absent\.png: no such file"),
}


@pytest.mark.parametrize(("mask", "saying"), REFUSED.values(), ids=REFUSED)
def test_a_mask_that_does_not_fit_is_refused(mask, saying: str) -> None:
    with pytest.raises(UserError, match=saying) as caught:
        Prompts(mask).check(61, 44)
    assert "\n" not in str(caught.value)


POINTS = [
    [(61, 0, 1)],
    [(0, 44, 1)],
    [(-0.1, 3, 1)],
    [(math.nan, 3, 1)],
    [(math.inf, 3, 1)],
    [(10**400, 3, 1)],
    [("3", 3, 1)],
    [(True, 3, 1)],
    [(3, 3, 2)],
    [(3, 3, None)],
    [(3, 3, "1")],
    [(3, 3)],
    [3, 3, 1],
    ["abc"],
    [None],
    [{"x": 3}],
]


@pytest.mark.parametrize("points", POINTS, ids=str)
def test_points_that_are_none_are_refused(points) -> None:
    with pytest.raises(UserError, match="points: number 1 is not x, y, inside with 0 <= x < 61, 0 <= y < 44"):
        Prompts(points=points).check(61, 44)


def test_the_point_that_is_wrong_is_named_and_many_are_refused() -> None:
    with pytest.raises(UserError, match="points: number 2 "):
        Prompts(points=[(1, 1, 1), (99, 1, 1)]).check(61, 44)
    with pytest.raises(UserError, match=f"points: {MOST_POINTS + 1} of them; give at most {MOST_POINTS}"):
        Prompts(points=[(1, 1, 1)] * (MOST_POINTS + 1)).check(61, 44)


@pytest.mark.parametrize(
    "box",
    [
        (5, 5, 5, 9), (9, 5, 5, 9), (0, 0, 62, 44), (0, 0, 61, 45), (-1, 0, 9, 9), (0, 0, 9), (0, 0, math.nan, 9),
        (0, 0, math.inf, 9), "0123", [[0, 0, 9, 9]], (None, 0, 9, 9), 7,
    ],
    ids=str,
)  # fmt: skip
def test_a_box_that_is_none_is_refused(box) -> None:
    with pytest.raises(UserError, match="box: not x0, y0, x1, y1 with 0 <= x0 < x1 <= 61 and 0 <= y0 < y1 <= 44"):
        Prompts(box=box).check(61, 44)


def test_text_in_json() -> None:
    assert parse_prompt("points", "[[1, 2, 1]]") == [[1, 2, 1]]
    assert parse_prompt("box", " [1, 2.5, 3, 4] ") == [1, 2.5, 3, 4]


@pytest.mark.parametrize("text", ["", "a", "3", "{}", "null", '"[]"', "[1", "[" * 99_999, "9" * 9999])
def test_text_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"points: not a list in JSON, such as \[\["):
        parse_prompt("points", text)
