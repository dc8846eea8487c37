"""Masks by the names of their images; what `prepare` says of them is tested with the layout of ISIC-2017."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.data.readers.mask_files import find_masks
from mbdcnn.errors import UserError


def put(folder: Path, *names: str) -> None:
    for name in names:
        Image.new("L", (4, 3)).save(folder / name, "PNG")


def test_masks_by_their_names(tmp_path: Path) -> None:
    put(
        tmp_path, "a.png", "B_Segmentation.PNG", "c_mask.bmp", "d-seg.tif", "e.jpg", "e_mask.png", "other.png", "f.heic"
    )
    masks = find_masks(tmp_path, ["A", "b", "c", "d", "e", "f", "g"])
    assert {name: file.name for name, file in masks.of.items()} == {
        "A": "a.png",
        "b": "B_Segmentation.PNG",
        "c": "c_mask.bmp",
        "d": "d-seg.tif",
        "e": "e_mask.png",
    }
    assert [file.name for file in masks.unused] == ["f.heic", "other.png", "e.jpg"]
    put(tmp_path, "a_gt.png")
    with pytest.raises(UserError, match=r"a.png and a_gt.png are both masks of A; keep one"):
        find_masks(tmp_path, ["A"])
