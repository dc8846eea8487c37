"""DeepLabV3+ round either encoder: atrous pyramid at stride 16, decoder at stride 4."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mbdcnn.config import SegmentationNetwork
from mbdcnn.models.backbones import SEGMENTATION, find_backbone
from mbdcnn.models.layers import SeparableConv, conv_norm_relu, enlarge


class AtrousPyramid(nn.Module):
    """Looks at the deepest features at several dilations and as a whole."""

    def __init__(self, inputs: int, network: SegmentationNetwork) -> None:
        super().__init__()
        channels = network.decoder_channels
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(inputs, channels, 1, bias=True),
                *(_conv3x3(inputs, channels, network, dilation) for dilation in network.dilations),
            ]
        )
        self.pooling = conv_norm_relu(inputs, channels, 1, bias=True)
        self.projection = conv_norm_relu((len(self.branches) + 1) * channels, channels, 1, bias=True)
        self.dropout = nn.Dropout(network.dropout)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooling(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        context = torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1)
        output: Tensor = self.dropout(self.projection(context))
        return output


class Decoder(nn.Module):
    """Joins context with the low-level feature and ends in the mask logits at the image's size."""

    def __init__(self, low_level_channels: int, network: SegmentationNetwork) -> None:
        super().__init__()
        channels, low_level = network.decoder_channels, network.low_level_channels
        self.low_level = conv_norm_relu(low_level_channels, low_level, 1, bias=True)
        self.refine = nn.Sequential(
            _conv3x3(channels + low_level, channels, network),
            nn.Dropout(network.dropout),
            _conv3x3(channels, channels, network),
            nn.Dropout(network.dropout / 5),
        )
        self.head = nn.Conv2d(channels, 2, 1)

    def forward(self, low_level: Tensor, context: Tensor) -> Tensor:
        joined = torch.cat([enlarge(context, 4), self.low_level(low_level)], dim=1)
        return enlarge(self.head(self.refine(joined)), 4)


def segmentation_encoder(network: SegmentationNetwork) -> Any:
    """Return an encoder whose forward gives `EncoderFeatures`."""
    return find_backbone(network.backbone, SEGMENTATION)(network.width, network.depth)


def _conv3x3(inputs: int, outputs: int, network: SegmentationNetwork, dilation: int = 1) -> nn.Module:
    if network.separable_decoder:
        return SeparableConv(inputs, outputs, dilation=dilation, rectify=True)
    return conv_norm_relu(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=True)
