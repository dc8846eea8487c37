from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mbdcnn.metrics.extent import longest_diameter


def test_a_single_pixel_measures_its_diagonal() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    found = longest_diameter(mask)
    assert found is not None
    assert found.length == pytest.approx(math.sqrt(2))
    assert {*found.ends} in ({(3.0, 2.0), (4.0, 3.0)}, {(4.0, 2.0), (3.0, 3.0)})


def test_a_rectangle_measures_its_diagonal_in_the_unit_of_the_spacing() -> None:
    mask = np.zeros((50, 60), bool)
    mask[10:40, 5:45] = True
    assert longest_diameter(mask).length == pytest.approx(50)
    assert longest_diameter(mask, (0.1, 0.1)).length == pytest.approx(5)
    # Pixels twice as high as wide: 60 down and 40 across.
    assert longest_diameter(mask, (2.0, 1.0)).length == pytest.approx(math.hypot(60, 40))


def test_a_disc_measures_about_its_diameter() -> None:
    rows, columns = np.ogrid[:400, :500]
    mask = np.hypot(rows - 200, columns - 240) <= 150
    assert longest_diameter(mask).length == pytest.approx(301, abs=1.5)


def test_nothing_has_no_diameter() -> None:
    assert longest_diameter(np.zeros((4, 4), bool)) is None


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.sampled_from([(1.0, 1.0), (0.5, 2.0)]))
def test_it_is_the_largest_distance_of_all_corners(mask, spacing) -> None:
    corners = {(x + right, y + down) for y, x in np.argwhere(mask).tolist() for down in (0, 1) for right in (0, 1)}
    found = longest_diameter(mask, spacing)
    if not corners:
        assert found is None
        return

    def apart(one, other) -> float:
        return math.hypot((one[0] - other[0]) * spacing[1], (one[1] - other[1]) * spacing[0])

    assert found.length == pytest.approx(max(apart(*pair) for pair in combinations(corners, 2)))
    assert apart(*found.ends) == pytest.approx(found.length)
    assert {*found.ends} <= corners
