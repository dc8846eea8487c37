from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masks import decode_mask
from mbdcnn.data import read_raw
from mbdcnn.data.images.decoding import decode
from mbdcnn.data.synthetic import KINDS, draw, generate

COUNTS = {"train": 8, "validation": 4, "test": 4}


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    generate(folder, COUNTS, (96, 72), seed=3)
    return folder


def test_the_same_seed_gives_the_same_bytes(generated: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", COUNTS, (96, 72), seed=3)
    generate(tmp_path / "other", COUNTS, (96, 72), seed=4)
    first, again, other = (_digests(folder) for folder in (generated, tmp_path / "again", tmp_path / "other"))
    assert first == again
    assert first.keys() == other.keys()
    images = [name for name in first if name.endswith(".jpg")]
    assert len({first[name] for name in images} | {other[name] for name in images}) == 2 * len(images)


def test_it_has_the_official_layout_with_its_traps(generated: Path) -> None:
    raw = read_raw(generated, KINDS)
    assert raw.kind == "ISIC-2017"
    for split, count in COUNTS.items():
        labels = [record.label for record in raw.records if record.split == split]
        assert labels == [0, 1, 0, 2] * (count // 4)
    names = [file.name for file in (generated / "ISIC-2017_Training_Data").iterdir()]
    assert any(name.endswith("_superpixels.png") for name in names)
    assert any(name.endswith(".csv") for name in names)
    for record in raw.records:
        assert record.mask is not None
        assert decode(record.image).size == decode_mask(record.mask).shape[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_masks_cover_the_lesion_and_lesions_are_darker(kind: str) -> None:
    darker = 0
    for seed in range(12):
        image, mask = draw(np.random.default_rng(seed), kind, (128, 96))
        inside = np.asarray(mask) > 0
        assert set(np.unique(np.asarray(mask))) == {0, 255}
        assert 0.03 < inside.mean() < 0.7
        grey = np.asarray(image.convert("L")).astype(float)
        near = np.asarray(Image.fromarray(inside).resize((8, 6)).resize((128, 96))) & ~inside
        darker += grey[inside].mean() < grey[near].mean() if near.any() else 1
    assert darker >= 11


def _compactness(mask: Image.Image) -> float:
    """Perimeter squared over area."""
    inside = np.asarray(mask) > 0
    edges = (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()
    return float(edges**2 / inside.sum())


def test_classes_differ_in_shape_and_colour() -> None:
    shape: dict[str, list[float]] = {kind: [] for kind in KINDS}
    variety: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(20):
        for kind in KINDS:
            image, mask = draw(np.random.default_rng([9, seed]), kind, (128, 96))
            pixels = np.asarray(image).astype(float)[np.asarray(mask) > 0]
            shape[kind].append(_compactness(mask))
            variety[kind].append(float(pixels.std(axis=0).mean()))
    assert np.mean(shape["melanoma"]) > 1.1 * np.mean(shape["nevus"])
    assert np.mean(variety["melanoma"]) > 1.3 * np.mean(variety["nevus"])
    # No single threshold on colour tells the classes apart.
    assert max(variety["nevus"]) > min(variety["melanoma"])
