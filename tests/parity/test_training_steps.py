"""Four optimiser steps of coarse-SN against the authors' code.

In float64: in float32 the second step already depends on the convolution kernels.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mbdcnn.config import SegmentationLoss
from mbdcnn.training.losses import dice_rank_loss


@pytest.mark.slow
def test_losses_before_each_step(coarse, golden, random_input):
    network = copy.deepcopy(coarse).double().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    images, truth = random_input(5, 4, 3, 64, 64).double(), random_input(6, 4, 64, 64) > 0.7
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    for step, expected in enumerate(golden("train_steps_float64_dice_rank_total")):
        optimiser.param_groups[0]["lr"] = 1e-4 * (1 - step / 10) ** 0.9
        total, dice, rank = dice_rank_loss(network(images), truth.unsqueeze(1).double(), SegmentationLoss())
        torch.testing.assert_close(torch.stack([dice, rank, total]), expected, rtol=0, atol=1e-6)
        optimiser.zero_grad()
        if step < 3:
            total.backward()
            optimiser.step()
