"""mask-CN: the class of a lesion from the image and its coarse mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mbdcnn.config import ClassificationNetwork
from mbdcnn.models.backbones import CLASSIFICATION, find_backbone
from mbdcnn.models.layers import Normalize
from mbdcnn.types import ClassLogits, Features, Images, Masks


class Classification(NamedTuple):
    """Class logits, and the features at stride 16 whose mean they are linear in."""

    logits: ClassLogits
    features: Features


class Ensemble(nn.Module):
    """Encoders of one kind that take the same images; their features, one encoder's after the other's.

    A linear layer over all features, with the mean of the members' weights for each, averages their logits and their
    activation maps.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.channels: int = sum(member.channels for member in members)

    def forward(self, pixels: Tensor) -> Features:
        return torch.cat([member(pixels) for member in self.members], dim=1)


class MaskGuidedClassifier(nn.Module):
    """Trunk over image and mask, global average pooling, one linear layer. Sides must be multiples of 16.

    Args:
        network: kind and size of the trunk.
        classes: how many there are.
        members: trunks side by side, each with weights of its own.
    """

    def __init__(self, network: ClassificationNetwork, classes: int, members: int = 1) -> None:
        super().__init__()
        self.backbone: str = network.backbone
        self.normalize = Normalize(network.pixel_mean, network.pixel_std)
        build = find_backbone(network.backbone, CLASSIFICATION)
        trunks = [build(network.width, network.depth) for _ in range(members)]
        self.encoder = trunks[0] if members == 1 else Ensemble(trunks)
        self.dropout = nn.Dropout(network.dropout)
        self.head = nn.Linear(self.encoder.channels, classes)

    def forward(self, images: Images, masks: Masks) -> Classification:
        features = self.encoder(torch.cat([self.normalize(images), masks], dim=1))
        logits = self.head(self.dropout(features.mean((2, 3))))
        return Classification(logits, features)
