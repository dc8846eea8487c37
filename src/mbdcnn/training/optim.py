"""Adam with the polynomial schedule."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from mbdcnn.config import Training


def polynomial(step: int, *, steps: int, power: float) -> float:
    """Factor on the learning rate at a step: 1 at the start, 0 from step `steps` on."""
    return float(max(0.0, 1 - step / steps) ** power)


def adam(network: nn.Module, settings: Training) -> torch.optim.AdamW:
    """Build the optimiser; without weight decay AdamW is the paper's Adam."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def polynomial_schedule(
    optimizer: torch.optim.Optimizer, settings: Training, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Lower the rate after every step, to nothing after the last."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(polynomial, steps=steps, power=settings.poly_power))
