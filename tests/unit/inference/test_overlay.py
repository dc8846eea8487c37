from __future__ import annotations

import numpy as np
import pytest

from mbdcnn.inference.overlay import FINAL, HALO, HEAT_OPACITY, HEAT_TABLE, heat, outline, with_key


def grey(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def square() -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:45] = True
    return mask


def test_outline_lies_on_the_border_and_nowhere_else() -> None:
    image = grey()
    drawn = outline(image, square(), FINAL, width=1)
    coloured = (drawn == FINAL).all(axis=2)
    expected = square()
    expected[11:29, 21:44] = False
    assert (coloured == expected).all()
    assert (drawn[13:27, 23:42] == 128).all()
    assert (drawn[:6] == 128).all()
    assert (image == 128).all()


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_line_is_as_wide_as_asked_and_lies_on_a_halo(width: int) -> None:
    column = outline(grey(), square(), FINAL, width)[:20, 32]
    assert (column == FINAL).all(axis=1).sum() == width
    assert (column == HALO).all(axis=1).sum() >= 2


def test_a_full_mask_is_outlined_along_the_frame_and_an_empty_one_not_at_all() -> None:
    full = outline(grey(), np.ones((40, 60), bool), FINAL, 1)
    assert (full[0] == FINAL).all()
    assert (full[:, -1] == FINAL).all()
    assert (full[20, 30] == 128).all()
    assert (outline(grey(), np.zeros((40, 60), bool)) == 128).all()


def test_default_width_grows_with_the_image() -> None:
    counts = []
    for side in (100, 2000):
        mask = np.zeros((side, side), bool)
        mask[: side // 2] = True
        drawn = outline(np.full((side, side, 3), 128, np.uint8), mask)
        counts.append((drawn[side // 4 :, side // 2] == FINAL).all(axis=1).sum())
    assert counts == [2, 12]


def test_mask_of_another_size_is_refused() -> None:
    # A TypeError where shapes are checked at run time, which comes before the function's own check.
    with pytest.raises((ValueError, TypeError), match="61"):
        outline(grey(), np.ones((40, 61), bool))


def test_no_activation_leaves_the_image_and_full_activation_is_the_hottest_colour() -> None:
    for nothing in (np.zeros((4, 4)), np.full((4, 4), -0.7, np.float32)):
        assert (heat(grey(), nothing) == 128).all()
    hottest = HEAT_OPACITY * HEAT_TABLE[255] + (1 - HEAT_OPACITY) * 128
    assert heat(grey(), np.full((3, 5), 1.0)) == pytest.approx(np.broadcast_to(hottest, (40, 60, 3)), abs=1.5)


def test_heat_is_where_the_map_is_hot_and_writable() -> None:
    activation = np.zeros((4, 6))
    activation[0, 5] = 1
    changed = heat(grey(), activation)
    difference = np.abs(changed.astype(int) - 128).sum(axis=2)
    assert difference[:10, 50:].min() > 0
    assert difference[20:, :40].max() == 0
    changed[0, 0] = 0


def test_heat_colours_grow_lighter_throughout() -> None:
    lightness = HEAT_TABLE @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] - lightness[0] > 180


@pytest.mark.parametrize("width", [60, 1600])
def test_the_key_lies_below_the_image_with_the_whole_scale(width: int) -> None:
    image = grey(40, width)
    keyed = np.asarray(with_key(image, "Activation map of nevus"))
    assert np.array_equal(keyed[:40, :width], image)
    strip = keyed[40:]
    assert keyed.shape[1] >= width
    row = strip[len(strip) // 2]
    first, last = (np.flatnonzero((np.abs(row.astype(int) - end) < 12).all(axis=1)) for end in HEAT_TABLE[[0, 255]])
    assert first.min() < last.max() < keyed.shape[1]
    # Text to the left of the scale and to its right.
    light = np.flatnonzero((strip > 140).all(axis=2).any(axis=0))
    assert light.min() < first.min() - 50
    assert light.max() > last.max()
