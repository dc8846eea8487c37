"""EfficientNet-Lite against its published PyTorch implementation, both with the same formula weights.

The golden numbers are what `efficientnet-lite-pytorch` 0.1.0 computes from `(255 x - 127) / 128`: mean features at
stride 4, every tenth channel after the last 1x1 convolution, every twentieth ImageNet logit.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mbdcnn.config import ClassificationNetwork, SegmentationNetwork
from mbdcnn.models import CoarseSegmenter, MaskGuidedClassifier
from mbdcnn.models.checkpoints import import_state_dict

pytestmark = pytest.mark.parametrize("lite", [0, 1, 2])


@pytest.fixture
def settings(lite):
    return {"backbone": f"efficientnet_lite{lite}", "pixel_mean": 127 / 255, "pixel_std": 128 / 255}


@pytest.fixture
def images(random_input):
    return random_input(1, 2, 3, 64, 96)


@torch.no_grad()
def test_imagenet_features_and_logits(lite, settings, lite_state, images, golden):
    """Ours at stride 16 are the published ones at stride 32 and those between them."""
    state = lite_state(lite)
    network = MaskGuidedClassifier(ClassificationNetwork(**settings), 3).eval()
    report = import_state_dict(network, state)
    assert report.source == f"EfficientNet-Lite{lite}"
    assert set(report.dropped) == {"_fc.weight", "_fc.bias"}
    assert set(report.initial) == {"head.weight", "head.bias"}
    # With an empty mask the fourth channel adds nothing.
    features = network(images, torch.zeros(2, 1, 64, 96)).features[:, :, 1::2, 1::2]
    torch.testing.assert_close(features[:, ::10], golden(f"lite{lite}_features"), rtol=0, atol=1e-5)
    logits = F.linear(features.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])
    torch.testing.assert_close(logits[:, ::20], golden(f"lite{lite}_logits"), rtol=0, atol=1e-5)


@torch.no_grad()
def test_segmentation_features(lite, settings, lite_state, images, golden):
    state = lite_state(lite)
    network = CoarseSegmenter(SegmentationNetwork(**settings, decoder_channels=8)).eval()
    report = import_state_dict(network, state)
    assert {name.split(".")[0] for name in report.dropped} == {"_conv_head", "_bn1", "_fc"}
    assert {name.split(".")[0] for name in report.initial} == {"pyramid", "decoder"}
    low_level, high_level = network.encoder(network.normalize(images))
    assert low_level.shape[1:] == (network.encoder.low_level_channels, 16, 24)
    torch.testing.assert_close(low_level.mean((2, 3)), golden(f"lite{lite}_low_level_mean"), rtol=0, atol=1e-5)
    last = F.conv2d(high_level[:, :, 1::2, 1::2], state["_conv_head.weight"])
    statistics = [state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    features = F.batch_norm(last, *statistics, eps=1e-3).clamp(0, 6)
    torch.testing.assert_close(features[:, ::10], golden(f"lite{lite}_features"), rtol=0, atol=1e-5)
