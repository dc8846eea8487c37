"""Class activation maps: where the classifier saw the class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mbdcnn.config import CamMode
from mbdcnn.types import ActivationMaps, Features

SMALLEST_PEAK = 1e-6


def class_activation_map(
    features: Features,
    weight: Float[Tensor, "k c"],
    classes: Int[Tensor, " b"],
    mode: CamMode,
) -> ActivationMaps:
    """Return each image's map for its class, divided by its largest positive value.

    A map without a positive value is not divided.

    Args:
        features: the classifier's, at stride 16.
        weight: of the classifier's linear layer.
        classes: one class index an image.
        mode: `reference` keeps negative values; `relu` clips them at 0; `centred` does so once the mean of all
            classes' maps is taken away.
    """
    maps = raw_class_activation_map(features, centred(weight) if mode == "centred" else weight, classes)
    peak = maps.amax((2, 3), keepdim=True)
    maps = maps / torch.where(peak > SMALLEST_PEAK, peak, 1.0)
    return maps if mode == "reference" else maps.relu()


def raw_class_activation_map(
    features: Features, weight: Float[Tensor, "k c"], classes: Int[Tensor, " b"]
) -> ActivationMaps:
    """Sum the feature channels, weighted by what each adds to the class's logit."""
    return torch.einsum("bchw,bc->bhw", features, weight[classes]).unsqueeze(1)


def centred(weight: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
    """Take from every class's weights the mean of all classes, which adds the same to each logit.

    The softmax does not see it, but a map does: where it is negative in the lesion, a class that is chosen because the
    others are even less likely has nothing there to show.
    """
    return weight - weight.mean(0)
