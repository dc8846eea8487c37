"""What training any of the three networks has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mbdcnn.config import Training
from mbdcnn.data.datasets import Batch
from mbdcnn.errors import UserError
from mbdcnn.training.optim import adam, polynomial_schedule

REMEDY = "lower the learning rate or use precision fp32 and start again; the last checkpoint before it is kept"


class Task(lightning.LightningModule, ABC):
    """Steps, schedule and randomness of one training.

    Args:
        network: what is trained.
        settings: how.
        steps: optimiser steps in all.
        seed: randomness of step t is that of `seed` and t, so a resumed training equals an unbroken one.
        ids: names of the training samples' pictures, for a message when the loss is not finite.
    """

    score: str
    """Name under which the validation score that chooses the weights is logged."""

    def __init__(self, network: nn.Module, settings: Training, *, steps: int, seed: int, ids: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.steps = steps
        self.seed = seed
        self.ids = ids

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Compute the training loss of a batch."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Draw this step's randomness from its number, then compute the loss."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step * 1_009 + self.global_rank)
        loss = self.loss(batch)
        if self.device.type == "cpu" and not torch.isfinite(loss):
            names = ", ".join(self.ids[position] for position in batch["positions"].tolist())
            raise UserError(f"the loss is {loss.item()} at step {self.global_step}, on the pictures {names}; {REMEDY}")
        size = len(batch["positions"])
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Keep batch-norm statistics as they are, if asked to."""
        if self.settings.freeze_batch_norm:
            # Looked for each time: on several GPUs Lightning puts others in their place.
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def configure_optimizers(self) -> Any:
        """Adam, its rate lowered every step."""
        optimizer = adam(self.network, self.settings)
        schedule = polynomial_schedule(optimizer, self.settings, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
