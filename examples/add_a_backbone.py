"""Give coarse-SN and enhanced-SN an encoder of your own, and train with it from the command line.

    python examples/add_a_backbone.py run isic2017 out --config compact \
        --set coarse.network.backbone=plain --set enhanced.network.backbone=plain

takes any command of `mbdcnn` and runs it with the encoder known.
"""

from __future__ import annotations

from torch import Tensor, nn

from mbdcnn.cli import main
from mbdcnn.models import register_backbone
from mbdcnn.models.layers import EncoderFeatures


class PlainEncoder(nn.Module):
    """Convolutions of stride 2: features at stride 4 and stride 16, as DeepLabV3+ wants them."""

    def __init__(self, width: float, depth: int) -> None:
        super().__init__()
        channels = [max(8, int(base * width)) for base in (32, 64, 128, 256)]
        self.low_level_channels, self.high_level_channels = channels[1], channels[3]
        self.to_stride_4 = nn.Sequential(halve(3, channels[0]), halve(channels[0], channels[1]))
        self.to_stride_16 = nn.Sequential(halve(channels[1], channels[2]), halve(channels[2], channels[3]))

    def forward(self, images: Tensor) -> EncoderFeatures:
        """Return what the decoder joins and what the atrous pyramid reads."""
        low_level = self.to_stride_4(images)
        return EncoderFeatures(low_level, self.to_stride_16(low_level))


def halve(inputs: int, outputs: int) -> nn.Sequential:
    """Halve both sides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


register_backbone("plain", segmentation=PlainEncoder)

if __name__ == "__main__":
    main()
