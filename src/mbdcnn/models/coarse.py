"""coarse-SN: a rough lesion mask from the image alone."""

from __future__ import annotations

from torch import nn

from mbdcnn.config import SegmentationNetwork
from mbdcnn.models.deeplab import AtrousPyramid, Decoder, segmentation_encoder
from mbdcnn.models.layers import Normalize, draw_as_authors
from mbdcnn.types import Images, MaskLogits


class CoarseSegmenter(nn.Module):
    """DeepLabV3+. Sides must be multiples of 16."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.backbone: str = network.backbone
        self.normalize = Normalize(network.pixel_mean, network.pixel_std)
        self.encoder = segmentation_encoder(network)
        self.pyramid = AtrousPyramid(self.encoder.high_level_channels, network)
        self.decoder = Decoder(self.encoder.low_level_channels, network)
        if network.initialisation == "authors":
            draw_as_authors(self)

    def forward(self, images: Images) -> MaskLogits:
        low_level, high_level = self.encoder(self.normalize(images))
        logits: MaskLogits = self.decoder(low_level, self.pyramid(high_level))
        return logits
