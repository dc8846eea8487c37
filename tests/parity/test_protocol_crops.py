"""Crop boxes and size rule against numbers made with the authors' code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbdcnn.config import Views
from mbdcnn.data.crops import limited_size, view_boxes

PROTOCOL = json.loads((Path(__file__).parent / "protocol.json").read_text())


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


@pytest.mark.parametrize("size", PROTOCOL["crop_boxes_left_upper_right_lower"])
@pytest.mark.parametrize(("views", "fractions"), [("9_view", Views().fractions), ("15_view", Views().rare_fractions)])
def test_crop_boxes_are_the_authors(size: str, views: str, fractions: tuple[float, ...]) -> None:
    width, height = _size(size)
    boxes = view_boxes(width, height, fractions)
    assert boxes[0] == (0, 0, width, height)
    assert [list(box) for box in boxes[1:]] == PROTOCOL["crop_boxes_left_upper_right_lower"][size][views]


@pytest.mark.parametrize(("size", "limited"), PROTOCOL["segmentation_resize_max_1600"].items())
def test_size_rule_is_the_authors(size: str, limited: list[int]) -> None:
    assert list(limited_size(*_size(size), 1600)) == limited
