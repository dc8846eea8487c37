"""What training any of the three networks has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mbdcnn.config import Training
from mbdcnn.training.batches import Batch
from mbdcnn.training.optim import adam, polynomial_schedule
from mbdcnn.training.schedule import side_at

REMEDY = "lower the learning rate or use precision fp32 and start again; the last checkpoint before it is kept"
NAMED = 8
"""Images of a batch that a message names."""


class NotFiniteError(Exception):
    """Training met a number that is not finite.

    Args:
        what: which number.
        step: the step it was met at.
        ids: the images of that step, of this process.
    """

    def __init__(self, what: str, step: int, ids: Sequence[str]) -> None:
        names = ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
        super().__init__(f"{what} at step {step}" + (f", on the images {names}" if ids else ""))
        self.step = step
        self.ids = ids


class Step(NamedTuple):
    """What is remembered of a training step."""

    number: int
    positions: Tensor
    """Of the samples of its batch."""
    loss: Tensor


@dataclass(frozen=True)
class Course:
    """What any training is given beside the network and the settings of its kind."""

    settings: Training
    side: int
    """Side of the images that the network is made for, in pixels."""
    steps: int
    """Optimiser steps in all."""
    seed: int
    """Randomness of step t is that of `seed` and t, so a resumed training equals an unbroken one."""
    ids: Sequence[str]
    """Names of the training samples' images, for a message when the loss is not finite."""


class Task(lightning.LightningModule, ABC):
    """Steps, schedule and randomness of one training."""

    score: str
    """Name under which the validation score that chooses the weights is logged."""
    file_metadata: Mapping[str, str] = {}
    """What the files of the weights say of themselves."""

    def __init__(self, network: nn.Module, course: Course) -> None:
        super().__init__()
        self.network = network
        self.settings = course.settings
        self.side = course.side
        self.steps = course.steps
        self.seed = course.seed
        self.ids = course.ids
        self._seen: list[Step] = []

    def on_train_start(self) -> None:
        """Keep the training images where they are used, if there is room."""
        assert self.trainer.train_dataloader is not None
        self.trainer.train_dataloader.dataset.keep_on(self.device)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Compute the training loss of a batch."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Draw this step's randomness from its number, then compute the loss."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step * 1_009 + self.global_rank)
        loss = self.loss(batch)
        self._seen.append(Step(self.global_step, batch["positions"], loss.detach()))
        if self.looks_at_once():
            self._check_losses()
        size = len(batch["positions"])
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return loss

    def side_now(self) -> int:
        """Side of this step's images."""
        return side_at(self.settings, self.global_step, self.steps, self.side)

    def on_train_epoch_start(self) -> None:
        """Keep batch-norm statistics as they are, if asked to."""
        if self.settings.freeze_batch_norm:
            # Looked for each time: on several GPUs Lightning puts others in their place.
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def on_validation_start(self) -> None:
        """Let nothing be kept that comes of a number that is not finite.

        Raises:
            NotFiniteError: a loss since the last validation, or a weight, is not.
        """
        if not self._seen:
            return
        self._check_losses()
        state = [values for values in self.network.state_dict().values() if values.is_floating_point()]
        if not torch.stack([torch.isfinite(values).all() for values in state]).all():
            raise NotFiniteError("a weight is not finite", self.global_step, self._names(self._seen[-1]))

    def looks_at_once(self) -> bool:
        """Whether every loss is looked at when it is there; on a GPU that would hold up the next step."""
        return self.device.type == "cpu"

    def _check_losses(self) -> None:
        finite = torch.isfinite(torch.stack([step.loss for step in self._seen])).tolist()
        # All processes stop or none: one that went on would wait for the others.
        all_finite = all(finite) if self.looks_at_once() else self.trainer.strategy.reduce_boolean_decision(all(finite))
        if not all(finite):
            first = self._seen[finite.index(False)]
            raise NotFiniteError(f"the loss is {first.loss.item()}", first.number, self._names(first))
        if not all_finite:
            raise NotFiniteError("the loss of another process is not finite", self._seen[-1].number, ())
        del self._seen[:-1]

    def _names(self, step: Step) -> list[str]:
        return [self.ids[position] for position in step.positions.tolist()]

    def configure_optimizers(self) -> Any:
        """Adam, its rate lowered every step."""
        optimizer = adam(self.network, self.settings)
        schedule = polynomial_schedule(optimizer, self.settings, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
