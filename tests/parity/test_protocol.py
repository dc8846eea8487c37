"""The evaluation protocol over six views and three scales, held against the authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mbdcnn.inference.protocol import (
    ClassifierOutput,
    enhanced_logits,
    lesion_minus_background,
    resize_mask,
    six_view_masks,
)
from mbdcnn.inference.runtimes import TorchNetwork, channels_first
from mbdcnn.inference.tta import all_views, enlarge, merge_views
from mbdcnn.models import guide

CPU = torch.device("cpu")


class ReferenceCore:
    """Classifier and enhanced-SN as the protocol wants them."""

    def __init__(self, classifier, enhanced) -> None:
        self.guide = TorchNetwork(lambda images, masks: tuple(guide(classifier, images, masks, "reference")), CPU)
        self.enhanced = TorchNetwork(enhanced, CPU)

    def classify(self, pixels, masks):
        return ClassifierOutput(*self.guide(channels_first(pixels), masks[:, None]))

    def enhance(self, pixels, activation_maps):
        return self.enhanced(channels_first(pixels), activation_maps)[0]


def test_six_views_of_the_coarse_network(coarse, random_input, golden) -> None:
    network = TorchNetwork(coarse, CPU)
    pixels = random_input(3, 1, 3, 64, 64).numpy().transpose(0, 2, 3, 1)
    logits = merge_views(network(channels_first(all_views(pixels)))[0])
    expected = golden("tta6_coarse_logits").numpy()
    assert np.abs(logits - expected).max() < 1e-4
    masks = six_view_masks(lambda views: network(channels_first(views))[0], pixels)
    assert np.array_equal(masks, expected.argmax(axis=1) == 1)


@pytest.mark.slow
def test_scales_and_views_of_the_enhanced_network(classifier, enhanced, golden) -> None:
    core = ReferenceCore(classifier, enhanced)
    image = Image.fromarray(golden("multiscale_image").numpy())
    coarse_mask = golden("multiscale_coarse_mask").numpy() > 0
    total = np.zeros((2, 90, 120), np.float32)
    for side in (64, 80, 96):
        pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
        logits = enhanced_logits(core, pixels[None], resize_mask(coarse_mask, side, side)[None])
        total += enlarge(logits[0], 90, 120)
    expected = golden("multiscale_logits_sum").numpy()
    assert np.abs(total - expected[0]).max() < 1e-4
    assert np.array_equal(lesion_minus_background(total[None]) > 0, expected.argmax(axis=1) == 1)
