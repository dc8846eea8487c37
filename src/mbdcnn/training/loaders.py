"""Loaders of training and validation batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Training, in_steps
from mbdcnn.data.datasets import (
    ClassificationPatches,
    SegmentationTraining,
    TrainingOrder,
    steps_per_epoch,
)
from mbdcnn.errors import UserError
from mbdcnn.manifest import Row

Samples = SegmentationTraining | ClassificationPatches
VALIDATION_BATCH = 32


def segmentation_rows(data: PreparedData, split: str) -> list[Row]:
    """Give the images of a split that have a mask.

    Raises:
        UserError: fewer than two, too few for batch norm to train on.
    """
    rows = [row for row in data.split(split) if row.has_mask]
    return enough(rows, data, split, "with a mask")


def classification_rows(data: PreparedData, split: str) -> list[Row]:
    """Give the images of a split that have a label.

    Raises:
        UserError: fewer than two, or of validation images all in one class, so that no AUC can choose the weights.
    """
    rows = enough([row for row in data.split(split) if row.label is not None], data, split, "with a label")
    labels = {row.label for row in rows}
    if split == "validation" and len(labels) < 2:
        (only,) = labels
        raise UserError(
            f"{data.path}: all validation images are of class {data.classes[only or 0]}; "
            "choosing the classifier by AUC takes at least two classes"
        )
    return rows


def training_loader(
    samples: Samples,
    settings: Training,
    boundaries: Sequence[int],
    seed: int,
    current_step: Callable[[], int],
    weights: npt.NDArray[np.float64] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> DataLoader[Any]:
    """Give the batches of each step in the order that seed and step say."""
    order = TrainingOrder(
        len(samples),
        settings.batch_size,
        boundaries,
        seed,
        current_step=current_step,
        weights=weights,
        rank=rank,
        world_size=world_size,
    )
    return DataLoader(samples, sampler=order, batch_size=None)


def validation_loader(samples: Samples, rank: int = 0, world_size: int = 1) -> DataLoader[Any]:
    """Give every sample once, in order."""
    own = range(rank, len(samples), world_size)
    batches = BatchSampler(_Positions(own), VALIDATION_BATCH, drop_last=False)
    return DataLoader(samples, sampler=batches, batch_size=None)


class _Positions(SequentialSampler):
    def __init__(self, positions: range) -> None:
        self.positions = positions

    def __iter__(self) -> Any:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


def total_steps(settings: Training, samples: int) -> int:
    """Optimiser steps of a whole training."""
    return in_steps(settings.length, steps_per_epoch(samples, settings.batch_size))


def validation_steps(settings: Training, samples: int) -> list[int]:
    """Steps after which to validate; the last one always is."""
    steps = total_steps(settings, samples)
    every = in_steps(settings.validate_every, steps_per_epoch(samples, settings.batch_size))
    first = max(every, settings.validate_from)
    return [*range(first, steps, every), steps]


def enough(rows: list[Row], data: PreparedData, split: str, what: str) -> list[Row]:
    """Give the rows back, or raise a UserError if they are too few for batch norm to train on."""
    if len(rows) < 2:
        raise UserError(f"{data.path}: {len(rows)} {split} images {what}; training takes at least 2")
    return rows
