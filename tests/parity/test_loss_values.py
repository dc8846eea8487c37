"""Losses and their gradients against the authors' code: ordinary, empty, full, 12-pixel and scattered masks."""

from __future__ import annotations

import pytest
import torch

from mbdcnn.config import SegmentationLoss
from mbdcnn.training.losses import dice_rank_loss, rank_loss, soft_dice_loss


@pytest.fixture
def case(golden):
    return golden("logits").requires_grad_(), golden("targets").unsqueeze(1)


@pytest.mark.parametrize(("name", "loss"), [("dice", soft_dice_loss), ("rank", rank_loss)])
def test_value_and_gradient(golden, case, name, loss):
    logits, truth = case
    value = loss(logits, truth)
    value.backward()
    torch.testing.assert_close(value, golden(f"{name}_loss"), rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.grad, golden(f"grad_{name}"), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("image", range(5))
def test_per_image(golden, case, image):
    logits, truth = (tensor[image : image + 1] for tensor in case)
    dice = (golden("dice_foreground_per_image") + golden("dice_background_per_image"))[image] / 2
    torch.testing.assert_close(soft_dice_loss(logits, truth), dice, rtol=1e-6, atol=0)
    torch.testing.assert_close(rank_loss(logits, truth), golden("rank_per_image")[image], rtol=1e-5, atol=0)


def test_total(golden, case):
    total = dice_rank_loss(*case, SegmentationLoss()).total
    torch.testing.assert_close(total, golden("dice_loss") + 0.05 * golden("rank_loss"), rtol=1e-6, atol=0)
