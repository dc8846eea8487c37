"""The networks as pure tensor modules, and their weights."""

from mbdcnn.models.backbones import register_backbone
from mbdcnn.models.classifier import Classification, MaskGuidedClassifier
from mbdcnn.models.coarse import CoarseSegmenter
from mbdcnn.models.enhanced import EnhancedSegmenter
from mbdcnn.models.mbdcnn import (
    MBDCNN,
    Outputs,
    build_classifier,
    build_coarse,
    build_enhanced,
    build_network,
    guide,
)

__all__ = [
    "MBDCNN",
    "Classification",
    "CoarseSegmenter",
    "EnhancedSegmenter",
    "MaskGuidedClassifier",
    "Outputs",
    "build_classifier",
    "build_coarse",
    "build_enhanced",
    "build_network",
    "guide",
    "register_backbone",
]
