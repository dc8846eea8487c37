"""MobileNetV2 at output stride 16: the compact backbone, with torchvision's tensor names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import Tensor, nn

from mbdcnn.models.depthwise import DepthwiseConv
from mbdcnn.models.layers import OUTPUT_STRIDE, EncoderFeatures
from mbdcnn.types import Features

# Expansion, channels, blocks and stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
LAST_CHANNELS = 1280


def divisible(channels: float) -> int:
    """Round to a multiple of 8, losing at most a tenth, as published MobileNets do."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter by a depthwise 3x3, project by a 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [norm_relu6(nn.Conv2d(inputs, hidden, 1, bias=False))]
        self.conv = nn.Sequential(
            *expand,
            norm_relu6(DepthwiseConv(hidden, stride=stride, dilation=dilation)),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv(x)
        return x + output if self.residual else output


class MobileNetV2(nn.Module):
    """The segmentation encoder: 24 channels at stride 4 and 320 at stride 16."""

    def __init__(self, width: float, depth: int) -> None:
        super().__init__()
        self.low_level_channels, self.high_level_channels = divisible(24 * width), divisible(320 * width)
        self.features = nn.Sequential(OrderedDict(_layers(3, width, depth)))
        # The end of the second stage, the last layer at stride 4.
        self.low_level_layer = str(1 + min(2, depth))

    def forward(self, x: Tensor) -> EncoderFeatures:
        low_level = x
        for name, layer in self.features.named_children():
            x = layer(x)
            if name == self.low_level_layer:
                low_level = x
        return EncoderFeatures(low_level, x)


class MobileNetV2Trunk(nn.Module):
    """The classifier's trunk: 4 input channels, and the last 1x1 convolution to 1280 channels at stride 16."""

    def __init__(self, width: float, depth: int) -> None:
        super().__init__()
        self.channels = divisible(LAST_CHANNELS * max(1.0, width))
        self.features = nn.Sequential(OrderedDict(_layers(4, width, depth)))
        self.features.add_module("18", norm_relu6(nn.Conv2d(divisible(320 * width), self.channels, 1, bias=False)))

    def forward(self, x: Tensor) -> Features:
        features: Features = self.features(x)
        return features


def _layers(inputs: int, width: float, depth: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers up to stage seven.

    Where `depth` leaves blocks out, the others keep their number: a name means the same weights at any depth.
    """
    channels = divisible(32 * width)
    yield "0", norm_relu6(nn.Conv2d(inputs, channels, 3, 2, 1, bias=False))
    number, reached, dilation = 0, 2, 1
    for expansion, outputs, blocks, stride in STAGES:
        for block in range(blocks):
            number += 1
            if block >= depth:
                continue
            wanted = stride if block == 0 else 1
            allowed = wanted if reached * wanted <= OUTPUT_STRIDE else 1
            yield str(number), InvertedResidual(channels, divisible(outputs * width), expansion, allowed, dilation)
            # A stride left out to stay at stride 16 becomes a dilation of all later layers.
            channels, reached, dilation = divisible(outputs * width), reached * allowed, dilation * wanted // allowed


def norm_relu6(conv: nn.Conv2d, epsilon: float = 1e-5) -> nn.Sequential:
    # Not in place: ReLU6's gradient needs what it was given, so that would copy it first.
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, epsilon), nn.ReLU6())
