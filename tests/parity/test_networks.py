"""Outputs of the three networks against the authors' code, within 1e-4 of the largest value."""

from __future__ import annotations

import pytest
import torch

from mbdcnn.models.cam import class_activation_map, raw_class_activation_map

pytestmark = pytest.mark.parametrize("size", [(64, 64), (96, 128)], ids="{0[0]}x{0[1]}".format)


@pytest.fixture
def inputs(random_input, size):
    image = random_input(1, 2, 3, *size)
    return image, (random_input(2, 2, 1, *size) > 0.5).float()


@pytest.fixture
def same(golden, size):
    def check(actual: torch.Tensor, name: str) -> None:
        expected = golden(f"{name}_{size[0]}x{size[1]}").reshape(actual.shape)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * expected.abs().max().item())

    return check


@torch.no_grad()
def test_coarse(coarse, inputs, same):
    low_level, high_level = coarse.encoder(inputs[0])
    same(low_level.mean((2, 3)), "coarse_low_level_mean")
    same(high_level.mean((2, 3)), "coarse_encoder_out_mean")
    same(coarse(inputs[0]), "coarse_logits")


@torch.no_grad()
def test_classifier(classifier, inputs, same):
    logits, features = classifier(*inputs)
    same(logits, "classifier_logits")
    same(features.mean((2, 3)), "classifier_features_mean")
    predicted = logits.argmax(1)
    same(raw_class_activation_map(features, classifier.head.weight, predicted), "cam_raw")
    same(class_activation_map(features, classifier.head.weight, predicted, "reference"), "cam_reference")


@torch.no_grad()
def test_enhanced(enhanced, golden, inputs, same, size):
    activation_maps = golden(f"cam_reference_{size[0]}x{size[1]}").unsqueeze(1)
    same(enhanced(inputs[0], activation_maps), "enhanced_logits")
