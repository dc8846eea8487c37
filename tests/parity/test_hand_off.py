"""The way of the coarse mask in the evaluation protocol: 224 x 224, the image's size, then 224, 256 and 288.

Held against the rule written out: nearest neighbour takes for column x of n the column floor((x + 1/2) m / n) of m.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mbdcnn.inference.protocol import ClassifierOutput, Inputs, run_protocol

SIDE, SCALES = 224, (224, 256, 288)
SIZES = [(1022, 767), (767, 1022), (962, 722), (600, 450), (2048, 1536), (6748, 4499), (224, 224), (101, 99)]
"""Width and height of images."""


class Recorder:
    """Networks that outline what is red, and remember the masks they are given."""

    runtime = "none"

    def __init__(self) -> None:
        self.masks: dict[int, list[np.ndarray]] = {}

    def coarse(self, pixels):
        red = pixels[..., 0].astype(np.float32) - 127
        return np.stack([-red, red], axis=1)

    def classify(self, pixels, masks):
        self.masks.setdefault(pixels.shape[1], []).append(masks)
        count, side = len(pixels), pixels.shape[1] // 16
        return ClassifierOutput(
            np.zeros((count, 3)), np.zeros((count, 1, side, side), np.float32), np.zeros((count, 4))
        )

    def enhance(self, pixels, activation_maps):
        return np.zeros((len(pixels), 2, *pixels.shape[1:3]), np.float32)


def lesion(number: int) -> np.ndarray:
    """A tilted ellipse with a thin arm, so that every row and column counts."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([90 + 7 * number, 120])[:, None, None]
    turned = np.cos(number) * x + np.sin(number) * y, np.cos(number) * y - np.sin(number) * x
    return ((turned[0] / 70) ** 2 + (turned[1] / 31) ** 2 < 1) | ((abs(turned[1]) < 2) & (abs(turned[0]) < 95))


def positions(wanted: int, given: int, half: float) -> list[int]:
    """Say which of the given columns each of the wanted ones takes, adding up step by step, as Pillow does.

    Where a position is whole, and so between two columns, the sum's last digit decides.
    """
    step = given / wanted
    sums = list(itertools.accumulate([step] * (wanted - 1), initial=step * half))
    assert all(abs(at - (x + half) * step) < 1e-9 for x, at in enumerate(sums))
    return [math.floor(at) for at in sums]


def nearest(mask: np.ndarray, width: int, height: int, half: float = 0.5) -> np.ndarray:
    """Resize by the rule; `half` 0 for OpenCV's, which starts from the corner of each pixel."""
    return mask[np.ix_(positions(height, mask.shape[0], half), positions(width, mask.shape[1], half))]


def handed_on(mask: np.ndarray, width: int, height: int) -> dict[int, list[np.ndarray]]:
    """Run the whole protocol and give the masks that mask-CN was given, by side."""
    core = Recorder()
    image = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    scales = {side: np.zeros((side, side, 3), np.uint8) for side in SCALES}
    inputs = Inputs(width, height, image[None], (0,), scales)
    (outcome,) = run_protocol(core, [inputs], "paper")
    assert np.array_equal(outcome.coarse_mask, mask)
    return core.masks


@pytest.mark.parametrize("size", SIZES)
def test_masks_reach_enhanced_sn_by_way_of_the_images_size(size: tuple[int, int]) -> None:
    mask = lesion(SIZES.index(size))
    at_size = nearest(mask, *size)
    given = handed_on(mask, *size)
    assert given.keys() == set(SCALES)
    # The classifier's own view comes first, with the mask as it was made.
    assert np.array_equal(given[SIDE].pop(0)[0], mask)
    for side in SCALES:
        ((upright, *turned),) = given[side]
        expected = nearest(at_size, side, side)
        assert np.array_equal(upright, expected)
        for view, turn in zip(
            turned,
            (lambda m: np.rot90(m), lambda m: np.rot90(m, 2), lambda m: np.rot90(m, 3), np.fliplr, np.flipud),
            strict=True,
        ):
            assert np.array_equal(view, turn(expected))


@pytest.mark.parametrize("size", SIZES)
def test_opencvs_rule_would_hand_on_nearly_the_same(size: tuple[int, int]) -> None:
    mask = lesion(SIZES.index(size))
    given = handed_on(mask, *size)
    by_opencv = nearest(mask, *size, half=0.0)
    for side in SCALES:
        theirs = nearest(by_opencv, side, side)
        smaller = min(size) < SIDE
        assert (given[side][-1][0] != theirs).mean() <= (0.004 if smaller else 0.003)
        assert smaller or side > SIDE or np.array_equal(given[side][-1][0], theirs)
