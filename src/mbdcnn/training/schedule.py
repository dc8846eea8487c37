"""Which images are trained and validated on, and at which steps."""

from __future__ import annotations

from collections.abc import Callable

from mbdcnn.artifacts import PreparedData
from mbdcnn.artifacts.manifest import Row
from mbdcnn.config import Training, in_steps
from mbdcnn.data.folds import Fold
from mbdcnn.errors import UserError
from mbdcnn.training.batches import steps_per_epoch


def segmentation_rows(data: PreparedData, split: str, fold: Fold | None = None) -> list[Row]:
    """Give the images of a split that have a mask, of the training split those outside a fold.

    Raises:
        UserError: fewer than two, too few for batch norm to train on, or no lesion in any of them.
    """
    rows = _enough(data, split, fold, "with a mask", lambda row: row.has_mask)
    place = {row.id: index for index, row in enumerate(data.rows)}
    if not any(data.masks[place[row.id]].any() for row in rows):
        raise UserError(
            f"{data.path}: the {len(rows)} {split} masks are all empty; outlining lesions takes some with a lesion"
        )
    return rows


def classification_rows(data: PreparedData, split: str, fold: Fold | None = None) -> list[Row]:
    """Give the images of a split that have a label, of the training split those outside a fold.

    Raises:
        UserError: fewer than two, or all in one class, so that there is nothing to tell apart, nor an AUC to choose by.
    """
    rows = _enough(data, split, fold, "with a label", lambda row: row.label is not None)
    labels = {row.label for row in rows}
    if len(labels) < 2:
        (only,) = labels
        raise UserError(
            f"{data.path}: all {split} images are of class {data.classes[only or 0]}; "
            "telling classes apart takes at least two"
        )
    return rows


def _enough(data: PreparedData, split: str, fold: Fold | None, what: str, wanted: Callable[[Row], bool]) -> list[Row]:
    rows = data.split(split)
    if fold is not None and split == "train":
        # The division is that of all training images, with mask and label or not, so that it is one for every network.
        rows = fold.split(rows)[0]
        what += f" outside fold {fold.number}/{fold.of}"
    rows = [row for row in rows if wanted(row)]
    if len(rows) < 2:
        raise UserError(f"{data.path}: {len(rows)} {split} images {what}; training takes at least 2")
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


def side_at(settings: Training, step: int, steps: int, side: int) -> int:
    """Side of the training images at a step, in pixels (progressive resizing)."""
    return settings.small_side if settings.small_side and step < settings.small_part * steps else side
