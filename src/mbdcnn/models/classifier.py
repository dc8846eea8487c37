"""mask-CN: the class of a lesion from the image and its coarse mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from mbdcnn.config import ClassificationNetwork
from mbdcnn.models.backbones import CLASSIFICATION, find_backbone
from mbdcnn.models.layers import Normalize
from mbdcnn.types import ClassLogits, Features, Images, Masks


class Classification(NamedTuple):
    """Class logits, and the features at stride 16 whose mean they are linear in."""

    logits: ClassLogits
    features: Features


class MaskGuidedClassifier(nn.Module):
    """Trunk over image and mask, global average pooling, one linear layer. Sides must be multiples of 16."""

    def __init__(self, network: ClassificationNetwork, classes: int) -> None:
        super().__init__()
        self.backbone: str = network.backbone
        self.normalize = Normalize(network.pixel_mean, network.pixel_std)
        self.encoder = find_backbone(network.backbone, CLASSIFICATION)(network.width, network.depth)
        self.dropout = nn.Dropout(network.dropout)
        self.head = nn.Linear(self.encoder.channels, classes)

    def forward(self, images: Images, masks: Masks) -> Classification:
        features = self.encoder(torch.cat([self.normalize(images), masks], dim=1))
        logits = self.head(self.dropout(features.mean((2, 3))))
        return Classification(logits, features)
