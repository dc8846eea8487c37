"""How the protocols apply the networks."""

from __future__ import annotations

import numpy as np

from mbdcnn.inference.protocol import ClassifierOutput, Inputs, classify_images
from mbdcnn.inference.tta import SIX_VIEWS, all_views

SIDE = 32


class Corner:
    """Networks that outline what is bright, and whose logits are the corner pixel and that of the mask."""

    runtime = "none"

    def coarse(self, pixels):
        bright = pixels[..., 0].astype(np.float32) - 127
        return np.stack([-bright, bright], axis=1)

    def classify(self, pixels, masks):
        logits = np.stack([pixels[:, 0, 0, 0], masks[:, 0, 0]], axis=1).astype(np.float32)
        return ClassifierOutput(logits, logits[:, :1, None, None], logits)

    def enhance(self, pixels, activation_maps):
        raise AssertionError


def inputs(patches: int, views: tuple[int, ...]) -> Inputs:
    pixels = np.random.default_rng(0).integers(0, 256, (patches, SIDE, SIDE, 3), np.uint8)
    return Inputs(SIDE, SIDE, pixels, views, {SIDE: pixels[0]})


def test_without_crops_the_class_is_averaged_over_six_symmetries() -> None:
    image = inputs(1, (0,))
    (found,) = classify_images(Corner(), [image], "paper")
    corners = all_views(image.patches)[:, 0, 0, 0]
    assert len(set(corners)) > 3
    np.testing.assert_array_equal(found.view_logits, np.stack([corners, corners > 127], axis=1))
    assert found.view_logits.shape == (len(SIX_VIEWS), 2)
    # The map and the features are those of the upright image.
    assert found.activation_map.item() == found.embedding[0] == image.patches[0, 0, 0, 0]


def test_with_crops_it_is_averaged_over_these() -> None:
    image = inputs(3, (0, 1, 2, 1))
    (found,) = classify_images(Corner(), [image], "paper")
    np.testing.assert_array_equal(found.view_logits[:, 0], image.patches[[0, 1, 2, 1], 0, 0, 0])


def test_fast_takes_one_view() -> None:
    (found,) = classify_images(Corner(), [inputs(1, (0,))], "fast")
    assert found.view_logits.shape == (1, 2)
