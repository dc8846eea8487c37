"""The three networks composed: one view in, everything a prediction is made of out."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from mbdcnn.config import CamMode, Config
from mbdcnn.models.cam import class_activation_map
from mbdcnn.models.classifier import MaskGuidedClassifier
from mbdcnn.models.coarse import CoarseSegmenter
from mbdcnn.models.enhanced import EnhancedSegmenter
from mbdcnn.types import ActivationMaps, ClassLogits, Images, MaskLogits, Masks


class Outputs(NamedTuple):
    """One view through the three networks."""

    coarse_logits: MaskLogits
    class_logits: ClassLogits
    activation_maps: ActivationMaps
    """Of the predicted class."""
    mask_logits: MaskLogits
    embedding: Float[Tensor, "b c"]
    """The classifier's pooled features."""


class ClassifierOutput(NamedTuple):
    """What the classifier passes on."""

    class_logits: ClassLogits
    activation_maps: ActivationMaps
    """Of the predicted class."""
    embedding: Float[Tensor, "b c"]
    """The classifier's pooled features."""


class MBDCNN(nn.Module):
    """Mutual bootstrapping: coarse mask guides the classifier, its activation map guides the final mask."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.coarse = build_coarse(config)
        self.classifier = build_classifier(config, config.ensemble)
        self.enhanced = build_enhanced(config)
        self.cam_mode = config.cam

    def forward(self, images: Images) -> Outputs:
        coarse_logits = self.coarse(images)
        coarse_masks = coarse_logits.argmax(1, keepdim=True).to(images.dtype)
        guidance = self.guide(images, coarse_masks)
        mask_logits = self.enhanced(images, guidance.activation_maps)
        return Outputs(coarse_logits, guidance.class_logits, guidance.activation_maps, mask_logits, guidance.embedding)

    def guide(self, images: Images, masks: Masks) -> ClassifierOutput:
        """Classify images with their coarse masks, and say where the predicted class was seen."""
        return guide(self.classifier, images, masks, self.cam_mode)


def guide(classifier: MaskGuidedClassifier, images: Images, masks: Masks, cam_mode: CamMode) -> ClassifierOutput:
    """Run the classifier and turn its features into the activation map of the class it predicts."""
    logits, features = classifier(images, masks)
    maps = class_activation_map(features, classifier.head.weight, logits.argmax(1), cam_mode)
    return ClassifierOutput(logits, maps, features.mean((2, 3)))


def build_network(stage: str, config: Config) -> CoarseSegmenter | MaskGuidedClassifier | EnhancedSegmenter:
    """Build the `coarse`, `classifier` or `enhanced` network."""
    if stage == "classifier":
        return build_classifier(config)
    return build_coarse(config) if stage == "coarse" else build_enhanced(config)


def build_coarse(config: Config) -> CoarseSegmenter:
    return CoarseSegmenter(config.coarse.network)


def build_classifier(config: Config, members: int = 1) -> MaskGuidedClassifier:
    return MaskGuidedClassifier(config.classifier.network, len(config.classes), members)


def build_enhanced(config: Config) -> EnhancedSegmenter:
    return EnhancedSegmenter(config.enhanced.network)
