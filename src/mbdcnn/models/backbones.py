"""Encoders by name, and the door for more of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mbdcnn.config import Config
from mbdcnn.errors import UserError
from mbdcnn.models.efficientnet import SCALES, EfficientNetLite, EfficientNetLiteTrunk
from mbdcnn.models.mobilenet import MobileNetV2, MobileNetV2Trunk
from mbdcnn.models.xception import Xception, Xception65

Encoder = Callable[[float, int], Any]
"""Builds an encoder from `width` and `depth` of the configuration."""

SEGMENTATION: dict[str, Encoder] = {
    "xception65": Xception65,
    "mobilenet_v2": MobileNetV2,
    **{name: partial(EfficientNetLite, scale) for name, scale in SCALES.items()},
}
CLASSIFICATION: dict[str, Encoder] = {
    "xception": Xception,
    "xception_keras": partial(Xception, keras=True),
    "mobilenet_v2": MobileNetV2Trunk,
    **{name: partial(EfficientNetLiteTrunk, scale) for name, scale in SCALES.items()},
}


def register_backbone(name: str, *, segmentation: Encoder | None = None, classification: Encoder | None = None) -> None:
    """Make an encoder known under a name that configurations can use as `backbone`.

    Whoever loads a model with it must register it too: a configuration never names code to be run.

    Args:
        name: such as `resnet50`.
        segmentation: module for coarse-SN and enhanced-SN. Takes images b 3 h w, returns `EncoderFeatures` (strides 4
            and 16), and says its channels in `low_level_channels` and `high_level_channels`.
        classification: module for mask-CN. Takes image and mask b 4 h w, returns features at stride 16, and says
            their channels in `channels`.

    Raises:
        ValueError: the name is taken.
    """
    for known, encoder in ((SEGMENTATION, segmentation), (CLASSIFICATION, classification)):
        if encoder is not None:
            if name in known:
                raise ValueError(f"backbone {name}: there is one of this name")
            known[name] = encoder


def find_backbone(name: str, known: dict[str, Encoder]) -> Encoder:
    """Look an encoder up.

    Raises:
        UserError: there is none of this name.
    """
    if name not in known:
        raise UserError(f"backbone {name}: unknown; known are {', '.join(known)} (register_backbone adds others)")
    return known[name]


def check_backbones(config: Config) -> None:
    """Raise a UserError if a configuration names a backbone that is not there."""
    find_backbone(config.coarse.network.backbone, SEGMENTATION)
    find_backbone(config.classifier.network.backbone, CLASSIFICATION)
    find_backbone(config.enhanced.network.backbone, SEGMENTATION)
