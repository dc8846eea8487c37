from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mbdcnn.inference.tta import MAPS, PIXELS, SIX_VIEWS, all_views, bicubic_taps, enlarge, merge_views

random = np.random.default_rng(0)


@pytest.mark.parametrize("view", SIX_VIEWS)
def test_each_view_is_undone(view) -> None:
    images = random.random((2, 5, 5, 3))
    assert np.array_equal(view.invert(view.apply(images, PIXELS), PIXELS), images)
    turned = view.apply(images, PIXELS).transpose(0, 3, 1, 2)
    assert np.array_equal(view.invert(turned, MAPS), images.transpose(0, 3, 1, 2))


def test_views_are_the_six_of_the_paper() -> None:
    image = random.random((1, 4, 4, 3))
    plain = image[0]
    expected = [plain, np.rot90(plain), np.rot90(plain, 2), np.rot90(plain, 3), plain[:, ::-1], plain[::-1]]
    assert np.array_equal(all_views(image), np.stack(expected))
    assert len({view.tobytes() for view in map(np.ascontiguousarray, all_views(image))}) == 6


def test_merging_undoes_the_views_of_each_image() -> None:
    images = random.random((3, 6, 6, 2))
    merged = merge_views(all_views(images).transpose(0, 3, 1, 2))
    assert np.allclose(merged, 6 * images.transpose(0, 3, 1, 2))


@given(*[st.integers(1, 40)] * 4)
def test_enlarging_equals_torch_up_and_down(height: int, width: int, new_height: int, new_width: int) -> None:
    maps = random.standard_normal((2, height, width)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(maps)[None], (new_height, new_width), mode="bicubic", align_corners=False)
    assert enlarge(maps, new_height, new_width).dtype == np.float32
    assert np.allclose(enlarge(maps, new_height, new_width), expected[0].numpy(), atol=1e-4)


def test_many_rows_and_maps_are_enlarged_alike() -> None:
    maps = random.standard_normal((2, 3, 20, 30)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(maps), (300, 200), mode="bicubic", align_corners=False)
    assert np.allclose(enlarge(maps, 300, 200), expected.numpy(), atol=1e-4)


def test_weights_of_each_place_add_up_to_one() -> None:
    for source, target in ((7, 31), (31, 7), (1, 5), (5, 5)):
        assert np.allclose(bicubic_taps(source, target)[1].sum(axis=0), 1)
    places, weights = bicubic_taps(5, 5)
    assert np.array_equal(places[1], np.arange(5))
    assert np.array_equal(weights, np.repeat([[0], [1], [0], [0]], 5, axis=1))
