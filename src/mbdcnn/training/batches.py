"""Batches of training and validation samples, read straight from a prepared data set's arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mbdcnn.artifacts import MaskSet, PreparedData
from mbdcnn.artifacts.manifest import Row
from mbdcnn.data.crops import limited_size

Batch = dict[str, Tensor]
"""Tensors by name: `images` uint8 b h w 3, `truth` and `coarse` packed masks, `frames`, `labels`, `rows`."""


def as_images(pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """Turn stored pixels into network input in [0, 1]; the result is channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def as_masks(packed: UInt8[Tensor, "b h bytes"]) -> Float[Tensor, "b 1 h w"]:
    """Unpack stored masks, on whatever device they are."""
    bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    return ((packed[..., None] >> bits) & 1).flatten(-2)[:, None].float()


class SegmentationTraining(Dataset[Batch]):
    """Training pictures with their masks, and coarse masks where a mask set is given.

    Indexed by a list of positions, so that a batch is one read.
    """

    def __init__(self, data: PreparedData, rows: Sequence[Row], masks: MaskSet | None = None) -> None:
        self.data = data
        self.masks = masks
        self.ids = [row.id for row in rows]
        self.rows = np.array([row.training_row for row in rows])
        self.whole = np.array([row.views[0] for row in rows])
        longest = data.provenance.settings["data"]["longest_side"]
        self.frames = np.array([limited_size(row.width, row.height, longest) for row in rows], np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: list[int]) -> Batch:
        batch = {
            "images": _read(self.data.training_images, self.rows[positions]),
            "truth": _read(self.data.training_masks, self.rows[positions]),
            "frames": torch.from_numpy(self.frames[positions]),
            "positions": torch.tensor(positions),
        }
        if self.masks is not None:
            batch["coarse"] = _read(self.masks.patches, self.whole[positions])
        return batch


class SegmentationValidation(SegmentationTraining):
    """Whole pictures with their masks at the networks' size."""

    def __init__(self, data: PreparedData, rows: Sequence[Row], masks: MaskSet | None = None) -> None:
        super().__init__(data, rows, masks)
        place = {row.id: index for index, row in enumerate(data.rows)}
        self.places = np.array([place[row.id] for row in rows])

    def __getitem__(self, positions: list[int]) -> Batch:
        batch = {
            "images": _read(self.data.patches, self.whole[positions]),
            "truth": _read(self.data.masks, self.places[positions]),
        }
        if self.masks is not None:
            batch["coarse"] = _read(self.masks.patches, self.whole[positions])
        return batch


class ClassificationPatches(Dataset[Batch]):
    """Every view of every picture with its coarse mask and label; `owners` says which picture a view is of."""

    def __init__(self, data: PreparedData, rows: Sequence[Row], masks: MaskSet) -> None:
        self.data = data
        self.masks = masks
        self.ids = [row.id for row in rows]
        self.owners = np.repeat(np.arange(len(rows)), [len(row.views) for row in rows])
        self.patches = np.concatenate([row.views for row in rows])
        self.picture_labels = np.array([row.label for row in rows])
        self.labels = self.picture_labels[self.owners]

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, positions: list[int]) -> Batch:
        return {
            "images": _read(self.data.patches, self.patches[positions]),
            "coarse": _read(self.masks.patches, self.patches[positions]),
            "labels": torch.from_numpy(self.labels[positions]),
            "positions": torch.tensor(positions),
        }


class TrainingOrder(Sampler[list[int]]):
    """Batches of positions, computed from seed and step alone, so that training resumes at any step.

    Each pass over the data is a new permutation; what does not fill a batch is left out of that pass.

    Args:
        count: samples in the data set.
        batch_size: samples in a step, over all processes; the whole set if that is smaller.
        boundaries: steps at which an epoch (as Lightning counts: up to the next validation) ends.
        seed: seed of the permutations.
        current_step: tells at which step an iteration begins; it goes on to the next boundary.
        weights: chances of the samples; then each pass draws with replacement.
        rank: this process.
        world_size: number of processes; each takes every `world_size`-th sample of a batch.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        boundaries: Sequence[int],
        seed: int,
        *,
        current_step: Callable[[], int],
        weights: npt.NDArray[np.float64] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count = count
        self.batch_size = min(batch_size, count)
        self.boundaries = boundaries
        self.current_step = current_step
        self.seed = seed
        self.weights = weights
        self.rank = rank
        self.world_size = world_size
        self._pass = -1
        self._order = np.empty(0, np.int64)

    def __iter__(self) -> Iterator[list[int]]:
        # Not from the number of the epoch: Lightning's skips one where a training is resumed.
        start = self.current_step()
        end = next((boundary for boundary in self.boundaries if boundary > start), start)
        for step in range(start, end):
            yield self.batch(step)

    def batch(self, step: int) -> list[int]:
        """Give this process's share of the batch of one step."""
        turn, place = divmod(step, steps_per_epoch(self.count, self.batch_size))
        if turn != self._pass:
            self._pass, self._order = turn, self._draw(turn)
        batch = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        return [int(position) for position in batch[self.rank :: self.world_size]]

    def _draw(self, turn: int) -> npt.NDArray[np.int64]:
        random = np.random.default_rng([self.seed, turn])
        if self.weights is None:
            return random.permutation(self.count)
        return random.choice(self.count, self.count, p=self.weights)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full batches in one pass over the data; at least one."""
    return max(1, count // batch_size)


def balancing_weights(labels: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float64]:
    """Chances of samples, between as they come (0) and all classes equally often (1)."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    balanced = 1 / (counts[inverse] * len(counts))
    mixed: npt.NDArray[np.float64] = (1 - balance) / len(labels) + balance * balanced
    return mixed


def _read(array: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(array[rows])
