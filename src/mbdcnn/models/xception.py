"""The paper's backbones: aligned Xception-65 for segmentation, Xception for classification; both stride 16.

The authors' leading ReLUs work in place, so a skip may see the rectified input. Published weights were trained
that way; here it is written openly. Keras's Xception is another function of the same tensors.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbdcnn.models.layers import EncoderFeatures, SeparableConv, conv_norm, conv_norm_relu


def scaled(channels: int, width: float) -> int:
    return max(8, round(channels * width))


class AlignedBlock(nn.Module):
    """Three [ReLU, separable convolution] beside a shortcut; the stride sits in the third.

    Returns its output and the second convolution's, before any ReLU. An identity shortcut carries the rectified
    input, a convolution (where `outputs` or `stride` ask for one) the input as it is.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = SeparableConv(inputs, middle)
        self.conv2 = SeparableConv(middle, outputs)
        self.conv3 = SeparableConv(outputs, outputs, stride=stride)
        changes = inputs != outputs or stride != 1
        self.skip = conv_norm(inputs, outputs, stride=stride) if changes else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rectified = F.relu(x)
        second = self.conv2(F.relu(self.conv1(rectified)))
        skip = rectified if self.skip is None else self.skip(x)
        return self.conv3(F.relu(second)) + skip, second


class Xception65(nn.Module):
    """Aligned Xception-65 up to its last separable convolution: 256 channels at stride 4, 2048 at stride 16."""

    def __init__(self, width: float, depth: int) -> None:
        super().__init__()
        c32, c64, c128, c256, c728, c1024, c1536, c2048 = (
            scaled(channels, width) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.low_level_channels, self.high_level_channels = c256, c2048
        self.stem = nn.Sequential(
            conv_norm_relu(3, c32, 3, stride=2, padding=1, bias=False),
            conv_norm_relu(c32, c64, 3, padding=1, bias=False),
        )
        self.entry1 = AlignedBlock(c64, c128, c128, stride=2)
        self.entry2 = AlignedBlock(c128, c256, c256, stride=2)
        self.entry3 = AlignedBlock(c256, c728, c728, stride=2)
        self.middle = nn.ModuleList(AlignedBlock(c728, c728, c728) for _ in range(depth))
        self.exit = AlignedBlock(c728, c728, c1024)
        self.final = nn.Sequential(
            SeparableConv(c1024, c1536, rectify=True),
            SeparableConv(c1536, c1536, rectify=True),
            SeparableConv(c1536, c2048, rectify=True),
        )

    def forward(self, x: Tensor) -> EncoderFeatures:
        x, _ = self.entry1(self.stem(x))
        x, low_level = self.entry2(x)
        for block in (self.entry3, *self.middle, self.exit):
            x, _ = block(x)
        return EncoderFeatures(low_level, self.final(x))


class Block(nn.Module):
    """Separable convolutions with ReLUs between, beside a shortcut.

    Args:
        convolutions: how many; the first changes the channels.
        leading_relu: rectify the body's input first.
        rectified_skip: the shortcut's as well.
        pool: a max-pool of stride 2 to end with.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        convolutions: int,
        *,
        leading_relu: bool = True,
        rectified_skip: bool = True,
        pool: nn.MaxPool2d | None = None,
    ) -> None:
        super().__init__()
        self.leading_relu, self.rectified_skip = leading_relu, rectified_skip
        self.convs = nn.ModuleList(
            SeparableConv(inputs if i == 0 else outputs, outputs, inner_norm=False) for i in range(convolutions)
        )
        self.pool = pool or nn.Identity()
        self.skip = conv_norm(inputs, outputs, stride=2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        body = F.relu(x) if self.leading_relu else x
        shortcut = body if self.rectified_skip else x
        for i, conv in enumerate(self.convs):
            body = conv(F.relu(body) if i else body)
        output: Tensor = self.pool(body) + self.skip(shortcut)
        return output


class Tail(nn.Module):
    """mask-CN's own end of the trunk, at stride 16: a residual step, then two dilated convolutions.

    Args:
        pooled: end the residual step's body with a 3x3 max-pool. It looks ahead, as Keras's of stride 2 does on even
            sides, so that every other output is what Keras computes there.
    """

    def __init__(self, c728: int, c1024: int, c1536: int, c2048: int, *, pooled: bool = False) -> None:
        super().__init__()
        looking_ahead = nn.ConstantPad2d((0, 2, 0, 2), -torch.inf)
        self.pool = nn.Sequential(looking_ahead, nn.MaxPool2d(3, stride=1)) if pooled else nn.Identity()
        self.conv1 = SeparableConv(c728, c728, inner_norm=False)
        self.conv2 = SeparableConv(c728, c1024, inner_norm=False)
        self.skip = conv_norm(c728, c1024)
        self.conv3 = SeparableConv(c1024, c1536, dilation=2, inner_norm=False)
        self.conv4 = SeparableConv(c1536, c2048, dilation=2, inner_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv2(F.relu(self.conv1(F.relu(x))))) + self.skip(x)
        return F.relu(self.conv4(F.relu(self.conv3(x))))


class Xception(nn.Sequential):
    """Xception with 4 input channels, blocks 1-11 and a dilated tail: 2048 channels at stride 16.

    Args:
        width: factor on the channel counts.
        depth: blocks of the middle flow.
        keras: compute what Keras's Xception does: shortcuts see what is not rectified, max-pools look ahead on even
            sides, and there is one in the last residual step.
    """

    def __init__(self, width: float, depth: int, *, keras: bool = False) -> None:
        c32, c64, c128, c256, c728, c1024, c1536, c2048 = (
            scaled(channels, width) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        rectified = not keras
        # The sides that the first two see are odd.
        third_pool = nn.MaxPool2d(3, 2, ceil_mode=True) if keras else nn.MaxPool2d(3, 2, padding=1)
        stem = nn.Sequential(conv_norm_relu(4, c32, 3, stride=2, bias=False), conv_norm_relu(c32, c64, 3, bias=False))
        entry = nn.Sequential(
            Block(c64, c128, 2, leading_relu=False, pool=nn.MaxPool2d(3, 2, padding=1)),
            Block(c128, c256, 2, rectified_skip=rectified, pool=nn.MaxPool2d(3, 2, padding=1)),
            Block(c256, c728, 2, rectified_skip=rectified, pool=third_pool),
        )
        middle = nn.Sequential(*(Block(c728, c728, 3, rectified_skip=rectified) for _ in range(depth)))
        # Another name, so that the weights of neither are taken for the other's.
        end = {"exit" if keras else "tail": Tail(c728, c1024, c1536, c2048, pooled=keras)}
        super().__init__(OrderedDict(stem=stem, entry=entry, middle=middle, **end))
        self.channels = c2048
