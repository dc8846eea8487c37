"""Tiny networks of every kind on every kind of backbone."""

from __future__ import annotations

import pytest
import torch

from mbdcnn.config import ClassificationNetwork, SegmentationNetwork
from mbdcnn.models import CoarseSegmenter, EnhancedSegmenter, MaskGuidedClassifier

VARIANTS = {
    "paper": {"width": 0.05, "depth": 1},
    "compact": {"backbone": "mobilenet_v2", "width": 0.05, "depth": 2, "pixel_mean": 0.5, "pixel_std": 0.5},
    "lite": {"backbone": "efficientnet_lite0", "width": 0.05, "depth": 2, "pixel_mean": 0.5, "pixel_std": 0.5},
}
SMALL_DECODER = {"decoder_channels": 8, "low_level_channels": 4, "dropout": 0.2}


def segmentation(variant: str, **settings) -> SegmentationNetwork:
    compact = {} if variant == "paper" else {"dilations": (2,), "separable_decoder": True}
    return SegmentationNetwork(**{**VARIANTS[variant], **SMALL_DECODER, **compact, **settings})


def build(kind: str, variant: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "classifier":
        return MaskGuidedClassifier(ClassificationNetwork(**{**VARIANTS[variant], **settings}), 3)
    network = segmentation(variant, **settings)
    return CoarseSegmenter(network) if kind == "coarse" else EnhancedSegmenter(network)


@pytest.fixture
def tiny():
    return build


@pytest.fixture
def inputs_for():
    """Return a function giving a network's random inputs: images, and what else it takes."""

    def make(kind: str, batch: int = 2, height: int = 48, width: int = 80) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(3)
        images = torch.rand(batch, 3, height, width, generator=generator)
        if kind == "classifier":
            return images, (torch.rand(batch, 1, height, width, generator=generator) > 0.5).float()
        if kind == "enhanced":
            return images, torch.rand(batch, 1, height // 16, width // 16, generator=generator)
        return (images,)

    return make
