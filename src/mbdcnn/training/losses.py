"""The hybrid loss of the segmentation networks: soft Dice plus a rank loss on the hardest pixels."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mbdcnn.config import SegmentationLoss
from mbdcnn.models.cam import centred
from mbdcnn.types import Features, MaskLogits, Masks

Scalar: TypeAlias = Float[Tensor, ""]
PerImage: TypeAlias = Float[Tensor, " b"]


class DiceRank(NamedTuple):
    """The hybrid loss and its two parts, the rank loss before weighting."""

    total: Scalar
    dice: Scalar
    rank: Scalar


def dice_rank_loss(logits: MaskLogits, truth: Masks, loss: SegmentationLoss) -> DiceRank:
    """Add the weighted rank loss to the soft Dice loss."""
    dice = soft_dice_loss(logits, truth)
    rank = rank_loss(logits, truth, loss.rank_pixels, loss.rank_margin)
    return DiceRank(dice + loss.rank_weight * rank, dice, rank)


def soft_dice_loss(logits: MaskLogits, truth: Masks) -> Scalar:
    """Mean over the batch of the Dice losses of lesion and background."""
    lesion = lesion_probability(logits)
    return ((_dice(lesion, truth) + _dice(1 - lesion, 1 - truth)) / 2).mean()


def rank_loss(logits: MaskLogits, truth: Masks, pixels: int = 30, margin: float = 0.3) -> Scalar:
    """Punish background pixels that score no less than `margin` below lesion pixels.

    Compares the `pixels` most probable background pixels of an image with its least probable lesion pixels, all
    pairs. Where there are fewer, the tail counts as certain: background at 0, lesion at 1.
    """
    lesion = lesion_probability(logits)
    background = _largest(lesion * (1 - truth), pixels)
    foreground = 1 - _largest((1 - lesion) * truth, pixels)
    return (background.unsqueeze(2) - foreground.unsqueeze(1) + margin).relu().mean()


def evidence_outside(features: Features, weight: Float[Tensor, "k c"], lesions: Masks) -> PerImage:
    """Give the share of the class evidence that lies outside the lesion: of the absolute values of all classes' maps.

    The maps are less their mean over classes, for what all have in common decides nothing: a network could put that
    into the lesion and decide by what is beside it.

    Args:
        features: mask-CN's, at stride 16.
        weight: of its linear layer.
        lesions: true masks at the size of its input.
    """
    maps = F.conv2d(features, centred(weight).to(features.dtype)[:, :, None, None]).float().abs().sum(1)
    inside = F.adaptive_avg_pool2d(lesions, (maps.shape[1], maps.shape[2]))[:, 0]
    return 1 - (maps * inside).sum((1, 2)) / maps.sum((1, 2)).clamp(min=1e-6)


def lesion_probability(logits: MaskLogits) -> Masks:
    """Return the softmax of channel 1, in float32 at least: bfloat16 cannot sum an image's pixels."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide[:, 1:] - wide[:, :1]).sigmoid()


def _dice(probability: Masks, truth: Masks) -> PerImage:
    overlap = (probability * truth).sum((1, 2, 3))
    # The authors smooth the denominator only, so an empty truth costs 1 whatever is predicted.
    return 1 - 2 * overlap / (probability.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1e-5)


def _largest(errors: Masks, pixels: int) -> Float[Tensor, "b k"]:
    flat = errors.flatten(1)
    return flat.topk(min(pixels, flat.shape[1]), sorted=False).values
