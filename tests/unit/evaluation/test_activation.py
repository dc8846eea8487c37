from __future__ import annotations

import numpy as np
import pytest

from mbdcnn.evaluation.activation import Focus, focus, summarise_focus
from mbdcnn.metrics.bootstrap import Resamples

CELLS = (4, 6)


def lesion(rows: slice, columns: slice, cell: int = 16) -> np.ndarray:
    """A rectangle in an image of 4 x 6 cells, given in cells and fractions of them."""
    mask = np.zeros((CELLS[0] * cell, CELLS[1] * cell), bool)
    mask[tuple(slice(round(part.start * cell), round(part.stop * cell)) for part in (rows, columns))] = True
    return mask


def peaks(**values: float) -> np.ndarray:
    """A map that is 0 but at the cells named `rRcC`."""
    activation_map = np.zeros(CELLS, np.float32)
    for place, value in values.items():
        activation_map[int(place[1]), int(place[3])] = value
    return activation_map


def test_energy_is_shared_out_by_how_much_of_a_cell_is_lesion() -> None:
    mask = lesion(slice(1, 2.5), slice(2, 4))
    found = focus(peaks(r1c2=1, r2c2=1, r0c0=2, r3c5=-7), mask)
    assert found.cam_energy_inside == pytest.approx((1 + 0.5) / 4)
    assert found.lesion_share == pytest.approx(3 / 24)
    assert found.positive


@pytest.mark.parametrize("cell", [4, 16, 37, 64])
def test_images_of_any_size_give_the_same(cell: int) -> None:
    mask = lesion(slice(1, 3), slice(2, 4), cell)
    found = focus(peaks(r1c2=1, r0c0=2), mask)
    assert found == Focus(pytest.approx(1 / 3), False, False, True, pytest.approx(4 / 24), pytest.approx(16 / 24))


@pytest.mark.parametrize(
    ("peak", "inside", "near"),
    [
        ("r1c2", True, True),
        ("r2c3", True, True),
        ("r0c2", False, True),  # the cell above: its middle is half a cell away
        ("r2c1", False, True),
        ("r3c4", False, True),  # diagonally, 0.71 cells
        ("r1c5", False, False),  # 1.5 cells
        ("r0c0", False, False),
    ],
)
def test_the_peak_is_inside_within_a_cell_or_neither(peak: str, inside: bool, near: bool) -> None:
    found = focus(peaks(**{peak: 0.9, "r0c5": 0.3}), lesion(slice(1, 3), slice(2, 4)))
    assert (found.cam_pointing_game, found.cam_pointing_game_near) == (inside, near)


def test_tolerance_ends_at_the_side_of_a_cell() -> None:
    activation_map = peaks(r1c1=1)
    # From the middle of the peak's cell, at 1.5 cells, to the lesion's edge.
    assert focus(activation_map, lesion(slice(1, 2), slice(2.45, 4))).cam_pointing_game_near
    assert not focus(activation_map, lesion(slice(1, 2), slice(2.56, 4))).cam_pointing_game_near


def test_an_even_map_has_inside_what_the_lesion_covers() -> None:
    mask = lesion(slice(0.3, 2.8), slice(1.1, 5.2))
    found = focus(np.ones(CELLS, np.float32), mask)
    assert found.cam_energy_inside == pytest.approx(found.lesion_share, abs=1e-6)
    assert found.lesion_share == pytest.approx(mask.mean(), abs=0.01)


def test_random_peaks_hit_as_often_as_chance_says() -> None:
    mask = lesion(slice(1, 3), slice(2, 4))
    found = [focus(peaks(**{f"r{row}c{column}": 1}), mask) for row in range(4) for column in range(6)]
    assert np.mean([each.cam_pointing_game for each in found]) == found[0].lesion_share
    assert np.mean([each.cam_pointing_game_near for each in found]) == found[0].near_share


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_a_positive_value_misses(value: float) -> None:
    whole = np.ones((64, 96), bool)
    found = focus(np.full(CELLS, value, np.float32), whole)
    assert found[:4] == (0.0, False, False, False)


def test_an_image_without_a_lesion_is_not_judged_and_a_dot_is_not_lost() -> None:
    nothing = np.zeros((1000, 1500), bool)
    assert focus(np.ones(CELLS, np.float32), nothing) is None
    nothing[125, 125] = True
    assert focus(peaks(r0c0=1), nothing).cam_pointing_game_near


def test_summary_has_means_medians_and_what_chance_gives() -> None:
    found = [
        Focus(0.1, False, False, True, 0.1, 0.2),
        None,
        Focus(0.4, True, True, True, 0.2, 0.4),
        Focus(0.0, False, False, False, 0.3, 0.5),
        Focus(0.9, False, True, True, 0.5, 0.9),
    ]
    summary = summarise_focus(found, Resamples(5, 200))
    assert (summary["images"], summary["without_positive_values"]) == (4, 1)
    assert summary["cam_energy_inside"]["mean"]["value"] == pytest.approx(0.35)
    assert summary["cam_energy_inside"]["median"]["value"] == pytest.approx(0.25)
    assert summary["cam_pointing_game"]["mean"]["value"] == 0.25
    assert summary["cam_pointing_game_near"]["mean"]["value"] == 0.5
    assert summary["lesion_share"]["median"]["value"] == pytest.approx(0.25)
    assert summary["near_share"]["mean"]["value"] == pytest.approx(0.5)
    for name in ("cam_energy_inside", "cam_pointing_game"):
        for estimate in summary[name].values():
            assert estimate["low"] < estimate["value"] < estimate["high"]
    assert summarise_focus([None, None], Resamples(2, 10)) is None
