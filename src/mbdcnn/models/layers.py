"""Layers that more than one network is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbdcnn.errors import UserError
from mbdcnn.models.depthwise import DepthwiseConv
from mbdcnn.types import Features, Images

OUTPUT_STRIDE = 16


class EncoderFeatures(NamedTuple):
    """What a segmentation encoder returns: features at stride 4 and stride 16."""

    low_level: Features
    high_level: Features


class Normalize(nn.Module):
    """First layer of every network: pixels in [0, 1] to the range its starting weights were trained on.

    Raises:
        UserError: a side is no multiple of the output stride.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        # On the CPU even where networks are built without memory: weight files do not hold them.
        self.register_buffer("mean", torch.tensor(mean, device="cpu"), persistent=False)
        # Multiplied by rather than divided by, which OpenVINO would replace by it, mark of precision and all.
        self.register_buffer("scale", torch.tensor(1 / std, device="cpu"), persistent=False)

    def forward(self, images: Images) -> Images:
        height, width = images.shape[2:]
        if height % OUTPUT_STRIDE or width % OUTPUT_STRIDE:
            raise UserError(f"images of {height}x{width} pixels: both sides must be multiples of {OUTPUT_STRIDE}")
        return (images - self.mean) * self.scale


class SeparableConv(nn.Module):
    """Depthwise 3x3, then pointwise convolution, each followed by batch norm.

    Args:
        inner_norm: False leaves out the batch norm between the two.
        rectify: add a ReLU after each batch norm.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        inner_norm: bool = True,
        rectify: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(inputs, stride=stride, dilation=dilation)
        self.depthwise_norm = nn.BatchNorm2d(inputs) if inner_norm else nn.Identity()
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU(inplace=True) if rectify else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.depthwise_norm(self.depthwise(x)))
        x = self.activation(self.norm(self.pointwise(x)))
        return x


def conv_norm(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """1x1 convolution without bias, then batch norm: the shortcut beside a block."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class AtrousConv(nn.Conv2d):
    """Convolution that in training leaves out what sees padding alone.

    That is all but a 3x3 kernel's centre where the dilation is no less than the sides: 18 on the paper's 14 x 14.
    """

    def forward(self, x: Tensor) -> Tensor:
        keeps_size = self.kernel_size == (3, 3) and self.stride == (1, 1) and self.dilation == self.padding
        if self.training and keeps_size and self.dilation[0] >= max(x.shape[2:]):
            return F.conv2d(x, self.weight[..., 1:2, 1:2], self.bias)
        return super().forward(x)


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1, bias: bool
) -> nn.Sequential:
    return nn.Sequential(
        AtrousConv(inputs, outputs, kernel, stride, padding, dilation, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def draw_as_authors(network: nn.Module) -> None:
    """Draw the convolutions' weights from a normal distribution of variance 2 / (kernel area x output channels).

    Biases and batch norm keep PyTorch's start, as in the authors' code.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear with aligned corners, as the published weights expect."""
    large = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)
    if large.requires_grad:
        # A part of a joined gradient is strided in memory, and the enlargement's own then takes ten times longer.
        large.register_hook(lambda slope: slope.contiguous(memory_format=torch.channels_last))  # type: ignore[no-untyped-call]
    return large
