"""enhanced-SN: the final lesion mask, from the image and where the classifier looked."""

from __future__ import annotations

import torch
from torch import nn

from mbdcnn.config import SegmentationNetwork
from mbdcnn.models.deeplab import AtrousPyramid, Decoder, segmentation_encoder
from mbdcnn.models.layers import Normalize, conv_norm_relu, draw_as_authors
from mbdcnn.types import ActivationMaps, Images, MaskLogits


class EnhancedSegmenter(nn.Module):
    """DeepLabV3+ whose context is mixed with a class activation map. Sides must be multiples of 16."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.backbone: str = network.backbone
        self.normalize = Normalize(network.pixel_mean, network.pixel_std)
        self.encoder = segmentation_encoder(network)
        self.pyramid = AtrousPyramid(self.encoder.high_level_channels, network)
        self.guidance = conv_norm_relu(network.decoder_channels + 1, network.decoder_channels, 1, bias=True)
        self.decoder = Decoder(self.encoder.low_level_channels, network)
        if network.initialisation == "authors":
            draw_as_authors(self)

    def forward(self, images: Images, activation_maps: ActivationMaps) -> MaskLogits:
        low_level, high_level = self.encoder(self.normalize(images))
        context = torch.cat([self.pyramid(high_level), activation_maps], dim=1)
        logits: MaskLogits = self.decoder(low_level, self.guidance(context))
        return logits
