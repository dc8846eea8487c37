"""EfficientNet-Lite0, 1 and 2 at output stride 16: EfficientNets without squeeze-excite, with ReLU6.

The published weights were trained with TensorFlow's "SAME" padding and on pixels scaled as (255 x - 127) / 128. The
padding is part of these modules; the scaling is `pixel_mean` 127/255 and `pixel_std` 128/255 of the configuration.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from math import ceil
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mbdcnn.models.depthwise import DepthwiseConv, filter_channels
from mbdcnn.models.layers import OUTPUT_STRIDE, EncoderFeatures
from mbdcnn.models.mobilenet import divisible, norm_relu6
from mbdcnn.types import Features

# Expansion, kernel, channels, blocks and stride of each stage of EfficientNet-B0.
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
STEM_CHANNELS, LAST_CHANNELS = 32, 1280
NORM_EPSILON = 1e-3
_norm_relu6 = partial(norm_relu6, epsilon=NORM_EPSILON)


class Scale(NamedTuple):
    """What a larger EfficientNet-Lite multiplies; its stem, its last 1x1 convolution and its one-block stages stay."""

    channels: float
    blocks: float

    def repeats(self, blocks: int) -> int:
        return blocks if blocks == 1 else ceil(self.blocks * blocks)


SCALES = {
    "efficientnet_lite0": Scale(1.0, 1.0),
    "efficientnet_lite1": Scale(1.0, 1.1),
    "efficientnet_lite2": Scale(1.1, 1.2),
}


class HalvingConv(nn.Conv2d):
    """Convolution of stride 2 on even sides, padded like TensorFlow's "SAME": one more at the end than before it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, groups=groups, bias=False)
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        self.margins = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.margins)
        if self.groups > 1 and self.training and x.device.type == "cpu":
            return filter_channels(padded, self.weight, 2, 0)
        return super().forward(padded)


class MobileBlock(nn.Module):
    """Expand by a 1x1, filter by a depthwise convolution, project by a 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Identity() if expansion == 1 else _norm_relu6(nn.Conv2d(inputs, hidden, 1, bias=False))
        self.depthwise = _norm_relu6(
            HalvingConv(hidden, hidden, kernel, groups=hidden)
            if stride == 2
            else DepthwiseConv(hidden, kernel, dilation=dilation)
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, NORM_EPSILON))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + output if self.residual else output


class EfficientNetLite(nn.Module):
    """The segmentation encoder: 24 channels at stride 4 and 320 at stride 16, times the scale's."""

    def __init__(self, scale: Scale, width: float, depth: int) -> None:
        super().__init__()
        self.low_level_channels, self.high_level_channels = (
            divisible(channels * scale.channels * width) for channels in (24, 320)
        )
        self.stem = _stem(3, width)
        self.blocks = nn.Sequential(OrderedDict(_blocks(scale, width, depth)))
        # The end of the second stage, the last at stride 4. The first stage is block 0.
        self.low_level_block = str(min(scale.repeats(2), depth))

    def forward(self, x: Tensor) -> EncoderFeatures:
        low_level = x = self.stem(x)
        for name, block in self.blocks.named_children():
            x = block(x)
            if name == self.low_level_block:
                low_level = x
        return EncoderFeatures(low_level, x)


class EfficientNetLiteTrunk(nn.Module):
    """The classifier's trunk: 4 input channels, and the last 1x1 convolution to 1280 channels at stride 16."""

    def __init__(self, scale: Scale, width: float, depth: int) -> None:
        super().__init__()
        self.channels = divisible(LAST_CHANNELS * max(1.0, width))
        self.stem = _stem(4, width)
        self.blocks = nn.Sequential(OrderedDict(_blocks(scale, width, depth)))
        self.last = _norm_relu6(nn.Conv2d(divisible(320 * scale.channels * width), self.channels, 1, bias=False))

    def forward(self, x: Tensor) -> Features:
        features: Features = self.last(self.blocks(self.stem(x)))
        return features


def _stem(inputs: int, width: float) -> nn.Sequential:
    return _norm_relu6(HalvingConv(inputs, divisible(STEM_CHANNELS * width), 3))


def _blocks(scale: Scale, width: float, depth: int) -> Iterator[tuple[str, MobileBlock]]:
    """Yield the blocks of all stages by number.

    Where `depth` leaves blocks out, the others keep their number: a name means the same weights at any depth.
    """
    channels, number, reached, dilation = divisible(STEM_CHANNELS * width), 0, 2, 1
    for expansion, kernel, outputs, blocks, stride in STAGES:
        for block in range(scale.repeats(blocks)):
            if block < depth:
                wanted = stride if block == 0 else 1
                allowed = wanted if reached * wanted <= OUTPUT_STRIDE else 1
                wide = divisible(outputs * scale.channels * width)
                yield str(number), MobileBlock(channels, wide, expansion, kernel, allowed, dilation)
                # A stride left out to stay at stride 16 becomes a dilation of all later blocks.
                channels, reached, dilation = wide, reached * allowed, dilation * wanted // allowed
            number += 1
