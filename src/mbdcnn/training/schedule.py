"""Which images are trained and validated on, and at which steps."""

from __future__ import annotations

from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Training, in_steps
from mbdcnn.data.datasets import steps_per_epoch
from mbdcnn.errors import UserError
from mbdcnn.manifest import Row


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
