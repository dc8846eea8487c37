from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mbdcnn.cli.evaluate import Evaluate
from mbdcnn.evaluation.corruptions import CORRUPTIONS, corrupt
from mbdcnn.evaluation.robustness import LEVELS, conditions

MOVING = {"rotation", "scale"}


def skin() -> tuple[np.ndarray, np.ndarray]:
    """A lesion off the middle on mottled skin."""
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (160, 120), (215, 170, 150))
    ImageDraw.Draw(image).ellipse((70, 35, 130, 80), fill=(110, 70, 55))
    mask = Image.new("1", image.size)
    ImageDraw.Draw(mask).ellipse((70, 35, 130, 80), fill=1)
    mottled = np.asarray(image).astype(int) + rng.integers(-6, 7, (120, 160, 1))
    return mottled.astype(np.uint8), np.asarray(mask)


def change(name: str, level: int, image_id: str = "a") -> float:
    image, truth = skin()
    return float(np.abs(corrupt(image, truth, name, level, image_id)[0].astype(int) - image).mean())


def test_help_says_how_many_there_are() -> None:
    said = re.search(r'stress: bool = False\n +"""(.+?)"""', inspect.getsource(Evaluate), re.S)
    assert said
    counts = [len(CORRUPTIONS), len(LEVELS), len(conditions())]
    assert [int(number) for number in re.findall(r"\d+", said[1])] == counts


def test_these_move_the_lesion() -> None:
    assert {name for name, corruption in CORRUPTIONS.items() if corruption.move} == MOVING


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_spoilt_the_same_each_time_and_otherwise_than_another(name: str) -> None:
    image, truth = skin()
    before = image.copy(), truth.copy()
    first, again, other = (corrupt(image, truth, name, 2, image_id) for image_id in ("a", "a", "b"))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (image == before[0]).all()
    assert (truth == before[1]).all()
    assert first[0].shape == image.shape
    assert first[0].dtype == np.uint8
    # Blur, compression and magnification leave nothing to chance.
    if name not in {"blur", "JPEG", "scale", "rotation", "brightness"}:
        assert (first[0] != other[0]).any()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_spoils_more(name: str) -> None:
    weak, medium, strong = (change(name, level) for level in (1, 2, 3))
    assert 0.2 < weak < medium < strong or (name == "rotation" and min(weak, medium, strong) > 0.2)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_truth_moves_with_the_image_alone(name: str) -> None:
    image, truth = skin()
    for level in (1, 2, 3):
        corrupted, moved = corrupt(image, truth, name, level, "a")
        if name not in MOVING:
            assert moved is truth
            continue
        assert (moved != truth).any()
        # The lesion is what is dark, before and after.
        dark = np.asarray(Image.fromarray(corrupted).convert("L")) < 130
        assert (dark & moved).sum() / (dark | moved).sum() > 0.95
        assert corrupt(image, None, name, level, "a")[1] is None


def test_a_full_turn_is_exact_and_a_magnified_lesion_larger() -> None:
    image, truth = skin()
    square, mask = image[:, :120], truth[:, :120]
    turned, moved = corrupt(square, mask, "rotation", 3, "a")
    quarters = [np.rot90(square, k) for k in (1, 3)]
    assert min(np.abs(turned.astype(int) - quarter).max() for quarter in quarters) <= 1
    assert any((moved == np.rot90(mask, k)).all() for k in (1, 3))
    assert corrupt(image, truth, "scale", 1, "a")[1].sum() == pytest.approx(1.44 * truth.sum(), rel=0.03)


@pytest.mark.parametrize("size", [(16, 16), (16, 90)])
def test_tiny_images_can_be_spoilt(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 150, np.uint8)
    for name in CORRUPTIONS:
        assert corrupt(image, np.ones(size, bool), name, 3, "a")[0].shape == image.shape
