"""Settings of the prepared data and of the networks that they are for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mbdcnn.config.base import Depth, Fifths, Positive, Probability, Section, Side, Width


class Views(Section):
    """Centred crops of an image, each squashed to the classifier's input."""

    fractions: Annotated[tuple[Fifths, ...], Field(max_length=32)] = (4, 3, 2, 1)
    """Crop sizes in fifths of the image, used once with the image's aspect and once as squares."""
    rare_fractions: Annotated[tuple[Fifths, ...], Field(max_length=32)] = (4, 3.5, 3, 2.5, 2, 1.5, 1)
    """The same for training images of the rare classes, which so get more patches."""
    rare_classes: tuple[str, ...] = ("melanoma", "seborrheic_keratosis")
    """Classes whose training images are cut by `rare_fractions`; of other classes than the default, all but the first
    if not given."""


class Data(Section):
    """How `prepare` turns images into arrays."""

    image_size: Side = 224
    """Side of the square every network is fed, in pixels."""
    longest_side: Positive = 1600
    """Longer side to which an image counts as limited where margins are given in pixels."""
    segmentation_size: Side = 448
    """Side of the square at which training images of the segmentation networks are kept."""
    scales: Annotated[tuple[Side, ...], Field(max_length=16)] = (224, 256, 288)
    """Sides at which enhanced-SN is applied to an image in the paper's evaluation protocol."""
    views: Views = Views()
    """Crops for the classifier."""


class SegmentationNetwork(Section):
    """A DeepLabV3+ network at output stride 16."""

    backbone: str = "xception65"
    """Encoder: `xception65`, the paper's, `mobilenet_v2`, `efficientnet_lite0` to `2`, or a registered one."""
    width: Width = 1.0
    """Factor on the encoder's channel counts."""
    depth: Depth = 16
    """Middle-flow blocks of Xception-65, or at most so many blocks in each stage of the others."""
    decoder_channels: Positive = 256
    """Channels of the atrous pyramid and the decoder."""
    low_level_channels: Positive = 48
    """Channels to which the stride-4 feature is projected."""
    dilations: Annotated[tuple[Positive, ...], Field(max_length=16)] = (6, 12, 18)
    """Dilation of each 3x3 branch of the atrous pyramid; empty for 1x1 and image pooling alone."""
    separable_decoder: bool = False
    """Depthwise-separable instead of full 3x3 convolutions in pyramid and decoder."""
    dropout: Probability = 0.5
    """After the pyramid and after the decoder's first convolution; a fifth of it after the second."""
    initialisation: Literal["authors", "torch"] = "authors"
    """Convolutions without starting weights: drawn as the authors do (kaiming, fan out), or as PyTorch by itself."""
    pixel_mean: float = 0.0
    """Subtracted from pixels in [0, 1] before the first layer. Belongs to the starting weights."""
    pixel_std: Annotated[float, Field(gt=0)] = 1.0
    """Divides pixels after the mean is subtracted."""


class ClassificationNetwork(Section):
    """The mask-guided classifier at output stride 16."""

    backbone: str = "xception"
    """Trunk: `xception` of the paper, `xception_keras`, `mobilenet_v2`, `efficientnet_lite0` to `2`, or your own."""
    width: Width = 1.0
    """Factor on the channel counts."""
    depth: Depth = 8
    """Middle-flow blocks of Xception, or at most so many blocks in each stage of the others."""
    dropout: Probability = 0.0
    """On the pooled features, before the linear layer."""
    pixel_mean: float = 0.0
    """Subtracted from pixels in [0, 1] before the first layer. Belongs to the starting weights."""
    pixel_std: Annotated[float, Field(gt=0)] = 1.0
    """Divides pixels after the mean is subtracted."""
