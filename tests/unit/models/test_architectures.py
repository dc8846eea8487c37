"""Sizes of the published architectures, and the composition of the three networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mbdcnn.config import (
    ClassificationNetwork,
    Classifier,
    Coarse,
    Config,
    Enhanced,
    SegmentationNetwork,
)
from mbdcnn.models import MBDCNN, build_classifier, build_coarse, build_enhanced
from mbdcnn.models.cam import class_activation_map, raw_class_activation_map
from mbdcnn.models.efficientnet import SCALES, EfficientNetLite, EfficientNetLiteTrunk
from mbdcnn.models.layers import enlarge
from mbdcnn.models.mobilenet import MobileNetV2, MobileNetV2Trunk, divisible

TINY = {"width": 0.05, "depth": 1}


@pytest.mark.parametrize(
    ("build", "millions"), [(build_coarse, 54.7), (build_classifier, 20.8), (build_enhanced, 54.8)]
)
def test_parameter_counts_of_the_paper(build, millions):
    with torch.device("meta"):
        network = build(Config())
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == millions


def test_mobilenet_v2_is_the_published_one():
    # torchvision's has 3 504 872 parameters, of which 1 281 000 in its linear layer; ours has a mask channel more.
    trunk = MobileNetV2Trunk(1.0, 8)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 3_504_872 - 1_281_000 + 32 * 9
    geometry = {
        name: (trunk.features[name].conv[1][0].stride[0], trunk.features[name].conv[1][0].dilation[0])
        for name in map(int, ["13", "14", "15", "17"])
    }
    assert geometry == {13: (1, 1), 14: (1, 1), 15: (1, 2), 17: (1, 2)}


@pytest.mark.parametrize(
    ("depth", "names"), [(1, "0 1 2 4 7 11 14 17"), (3, "0 1 2 3 4 5 6 7 8 9 11 12 13 14 15 16 17")]
)
def test_shallow_mobilenet_keeps_the_numbers_of_its_layers(depth, names):
    encoder = MobileNetV2(0.05, depth)
    assert [name for name, _ in encoder.features.named_children()] == names.split()
    low_level, high_level = encoder(torch.rand(1, 3, 32, 32))
    assert low_level.shape == (1, encoder.low_level_channels, 8, 8)
    assert high_level.shape == (1, encoder.high_level_channels, 2, 2)


@pytest.mark.parametrize(("lite", "parameters"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_efficientnet_lites_are_the_published_ones(lite, parameters):
    # The published have a linear layer of 1 281 000 parameters; ours have a mask channel.
    trunk = EfficientNetLiteTrunk(SCALES[f"efficientnet_lite{lite}"], 1.0, 8)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == parameters - 1_281_000 + 32 * 9


@pytest.mark.parametrize(("depth", "names"), [(1, "0 1 4 7 11 15 20"), (3, "0 1 2 3 4 5 6 7 8 9 11 12 13 15 16 17 20")])
def test_shallow_efficientnet_keeps_the_numbers_of_its_blocks(depth, names):
    encoder = EfficientNetLite(SCALES["efficientnet_lite1"], 0.05, depth)
    assert [name for name, _ in encoder.blocks.named_children()] == names.split()
    low_level, high_level = encoder(torch.rand(1, 3, 32, 32))
    assert low_level.shape == (1, encoder.low_level_channels, 8, 8)
    assert high_level.shape == (1, encoder.high_level_channels, 2, 2)


@pytest.mark.parametrize(
    ("channels", "rounded"), [(1.0, 8), (12.0, 16), (24.0, 24), (33.6, 32), (18.0, 24), (11.9, 16)]
)
def test_channels_are_multiples_of_8(channels, rounded):
    assert divisible(channels) == rounded


def test_an_enlarged_map_gets_a_gradient_from_part_of_a_joined_one():
    torch.manual_seed(0)
    small = torch.randn(2, 3, 4, 5, requires_grad=True)
    other, slope = torch.randn(2, 2, 16, 20), torch.randn(2, 5, 16, 20)
    joined = torch.cat([enlarge(small, 4), other], dim=1)
    (own,) = torch.autograd.grad(joined, small, slope.to(memory_format=torch.channels_last))
    plain = F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=True)
    torch.testing.assert_close(own, torch.autograd.grad(plain, small, slope[:, :3])[0])


@torch.no_grad()
def test_activation_maps_need_no_copy_to_the_host():
    # On this device there are no values, so asking for one fails.
    features, weight, classes = torch.rand(2, 5, 3, 3, device="meta"), torch.rand(4, 5, device="meta"), torch.ones(2)
    maps = class_activation_map(features, weight, classes.long().to("meta"), "relu")
    assert maps.shape == (2, 1, 3, 3)


def tiny_config(backbone: str = "mobilenet_v2", **settings) -> Config:
    torch.manual_seed(0)
    segmentation = SegmentationNetwork(backbone=backbone, **TINY, decoder_channels=8, dilations=())
    return Config(
        coarse=Coarse(network=segmentation),
        classifier=Classifier(network=ClassificationNetwork(backbone=backbone, **TINY)),
        enhanced=Enhanced(network=segmentation),
        **settings,
    )


@torch.no_grad()
@pytest.mark.parametrize("cam", ["reference", "relu", "centred"])
def test_the_three_help_each_other(cam):
    model = MBDCNN(tiny_config(cam=cam, classes=("benign", "malignant"))).eval()
    images = torch.rand(3, 3, 32, 48)
    outputs = model(images)
    masks = (outputs.coarse_logits[:, 1:] > outputs.coarse_logits[:, :1]).float()
    logits, features = model.classifier(images, masks)
    maps = class_activation_map(features, model.classifier.head.weight, logits.argmax(1), cam)
    torch.testing.assert_close(outputs.class_logits, logits)
    torch.testing.assert_close(outputs.activation_maps, maps)
    torch.testing.assert_close(outputs.mask_logits, model.enhanced(images, maps))
    torch.testing.assert_close(model.classifier.head(outputs.embedding), logits)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_exports_with_any_batch_size(backbone):
    model = MBDCNN(tiny_config(backbone)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=[{0: batch}])
    for size in (1, 5):
        images = torch.rand(size, 3, 32, 32)
        torch.testing.assert_close(tuple(program.module()(images)), tuple(model(images)))


def test_activation_map_equals_the_plain_loop():
    torch.manual_seed(0)
    features, weight, classes = torch.randn(3, 5, 2, 4), torch.randn(4, 5), torch.tensor([2, 0, 3])
    maps = raw_class_activation_map(features, weight, classes)
    for i, c in enumerate(classes):
        expected = sum(weight[c, k] * features[i, k] for k in range(5))
        torch.testing.assert_close(maps[i, 0], expected)
        divided = class_activation_map(features, weight, classes, "reference")[i, 0]
        torch.testing.assert_close(divided, expected / expected.max())
        torch.testing.assert_close(class_activation_map(features, weight, classes, "relu")[i, 0], divided.clamp(min=0))


def test_a_centred_map_shows_what_speaks_for_the_class_rather_than_the_others():
    # Two classes of which the first is the less unlikely in the left cell: its own map has nothing there.
    features, weight = torch.tensor([[[[1.0, 0.5]], [[0.0, 1.0]]]]), torch.tensor([[-1.0, 1.0], [-5.0, 1.0]])
    first = torch.tensor([0])
    assert class_activation_map(features, weight, first, "relu").flatten().tolist() == [0, 1]
    assert class_activation_map(features, weight, first, "centred").flatten().tolist() == [1, 0.5]
    shared = class_activation_map(features, weight + torch.tensor([7.0, -3.0]), first, "centred")
    torch.testing.assert_close(shared, class_activation_map(features, weight, first, "centred"))


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_activation_map_without_positive_values_is_finite(value):
    features = torch.full((1, 2, 3, 3), value)
    weight, classes = torch.ones(1, 2), torch.tensor([0])
    assert class_activation_map(features, weight, classes, "reference").unique().item() == 2 * value
    assert class_activation_map(features, weight, classes, "relu").unique().item() == 0
