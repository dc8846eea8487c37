"""Batches of training and validation samples, read straight from a prepared data set's arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mbdcnn.artifacts import MaskSet, PreparedData
from mbdcnn.artifacts.manifest import Row
from mbdcnn.data.crops import limited_size
from mbdcnn.errors import UserError

Array = npt.NDArray[np.uint8] | Tensor
Batch = dict[str, Tensor]
"""Tensors by name: `images` uint8 b h w 3, `truth` and `coarse` packed masks b h bytes, `positions` b in the data set;
for segmentation `frames` b 2, for classification `targets` b k (class shares) and `has_truth` b; `aspects` b."""
LARGEST_REPEAT = 10.0
"""How many times as often as its source's images on average an image of a rare class is drawn at most."""


def as_images(pixels: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """Turn stored pixels into network input in [0, 1]; the result is channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def as_masks(packed: UInt8[Tensor, "b h bytes"]) -> Float[Tensor, "b 1 h w"]:
    """Unpack stored masks, on whatever device they are."""
    bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    return ((packed[..., None] >> bits) & 1).flatten(-2)[:, None].float()


class Samples(Dataset[Batch]):
    """Samples indexed by a list of positions, so that a batch is one read."""

    ids: list[str]
    """Name of each sample's image."""

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[Array, npt.NDArray[np.int64]]] = {}
        self.labels: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, positions: list[int]) -> Batch:
        """Read the arrays' rows of these samples, and what else is known of them, by name."""
        batch = {name: _read(array, rows[positions]) for name, (array, rows) in self.arrays.items()}
        chosen = torch.tensor(positions)
        return batch | {name: values[chosen] for name, values in self.labels.items()} | {"positions": chosen}

    def keep_on(self, device: torch.device) -> None:
        """Move the arrays into a GPU's memory, if they take less than half of what is free there."""
        needed = {id(array): (int(rows.max()) + 1) * math.prod(array.shape[1:]) for array, rows in self.arrays.values()}
        if device.type == "cuda" and 2 * sum(needed.values()) < torch.cuda.mem_get_info(device)[0]:
            moved: dict[int, Tensor] = {}
            for name, (array, rows) in self.arrays.items():
                if id(array) not in moved:
                    moved[id(array)] = torch.from_numpy(np.array(array)).to(device)
                self.arrays[name] = (moved[id(array)], rows)


class SegmentationTraining(Samples):
    """Training images with their masks, and coarse masks where a mask set is given."""

    def __init__(self, data: PreparedData, rows: Sequence[Row], masks: MaskSet | None = None) -> None:
        super().__init__()
        self.ids = [row.id for row in rows]
        self.whole = np.array([row.views[0] for row in rows])
        training = np.array([row.training_row for row in rows])
        longest = data.provenance.settings["data"]["longest_side"]
        self.arrays = {"images": (data.training_images, training), "truth": (data.training_masks, training)}
        if masks is not None:
            self.arrays["coarse"] = (masks.patches, self.whole)
        frames = [limited_size(row.width, row.height, longest) for row in rows]
        self.labels = {
            "frames": torch.tensor(frames, dtype=torch.float32),
            "aspects": torch.tensor([row.aspect for row in rows]),
        }


class SegmentationValidation(Samples):
    """Whole images with their masks at the networks' size."""

    def __init__(self, data: PreparedData, rows: Sequence[Row], masks: MaskSet | None = None) -> None:
        super().__init__()
        self.ids = [row.id for row in rows]
        whole = np.array([row.views[0] for row in rows])
        self.arrays = {"images": (data.patches, whole), "truth": (data.masks, _lines(data, rows))}
        if masks is not None:
            self.arrays["coarse"] = (masks.patches, whole)


class ClassificationPatches(Samples):
    """Views of every image with its coarse mask and label; `owners` says which image a view is of.

    Args:
        data: prepared images.
        rows: those with a label.
        masks: their coarse masks.
        crops: all views of an image, or the whole of it alone.
        truth: give the true masks too, empty where there is none or the view is a crop: `has_truth` says so.
    """

    def __init__(
        self,
        data: PreparedData,
        rows: Sequence[Row],
        masks: MaskSet,
        *,
        crops: bool = True,
        truth: bool = False,
    ) -> None:
        super().__init__()
        views = [row.views if crops else row.views[:1] for row in rows]
        self.owners = np.repeat(np.arange(len(rows)), [len(each) for each in views])
        of_view = [row for row, each in zip(rows, views, strict=True) for _ in each]
        self.image_labels = np.array([row.label for row in rows])
        self.ids = [row.id for row in of_view]
        patches = np.concatenate(views)
        self.arrays = {"images": (data.patches, patches), "coarse": (masks.patches, patches)}
        targets = np.array([row.shares or np.eye(len(data.classes))[row.label] for row in rows], np.float32)
        self.labels = {
            "targets": torch.from_numpy(targets[self.owners]),
            "aspects": torch.tensor([row.aspect for row in of_view]),
        }
        if truth:
            lines, first = _lines(data, rows), np.array([row.views[0] for row in rows])
            self.arrays["truth"] = (data.masks, lines[self.owners])
            has_mask = np.array([row.has_mask for row in rows])
            self.labels["has_truth"] = torch.from_numpy(has_mask[self.owners] & (patches == first[self.owners]))


def _lines(data: PreparedData, rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    line = {row.id: index for index, row in enumerate(data.rows)}
    return np.array([line[row.id] for row in rows])


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


def sampling_weights(
    rows: Sequence[Row], balance: float, source_shares: Mapping[str, float]
) -> npt.NDArray[np.float64] | None:
    """Give the chance of each image to be drawn; None if all are equal.

    Classes are balanced within each source, so that a class cannot be told by its source.

    Args:
        rows: images; those without a label count as a class of their own.
        balance: between as they come (0) and all classes of a source equally often (1), though no image more than
            `LARGEST_REPEAT` times as often as the source's images are on average.
        source_shares: share of all draws for sources by name; the others share the rest by size.

    Raises:
        UserError: no image is of a source that is named, or the shares leave nothing for those not named.
    """
    chances = np.array([row.weight for row in rows])
    if len(set(chances)) == 1 and not balance and not source_shares:
        return None
    classes = Counter((row.origin, row.label) for row in rows)
    sizes = Counter(row.origin for row in rows)
    kinds = Counter(origin for origin, _ in classes)
    for index, row in enumerate(rows):
        repeats = sizes[row.origin] / (classes[row.origin, row.label] * kinds[row.origin])
        chances[index] *= 1 - balance + balance * min(repeats, LARGEST_REPEAT)
    origins = np.array([row.origin for row in rows])
    for origin, share in _all_shares(sizes, source_shares).items():
        inside = origins == origin
        chances[inside] *= share / chances[inside].sum()
    return chances


def _all_shares(sizes: Mapping[str, int], given: Mapping[str, float]) -> dict[str, float]:
    unknown = [name for name in given if name not in sizes]
    if unknown:
        raise UserError(
            f"source_shares: no training image is of the source {unknown[0]}; there are {', '.join(sorted(sizes))}"
        )
    rest = {name: size for name, size in sizes.items() if name not in given}
    left = 1 - sum(given.values())
    if (left <= 1e-6) if rest else abs(left) > 1e-6:
        raise UserError(f"source_shares: they sum to {1 - left:g}; expected {'less than 1' if rest else '1'}")
    total = sum(rest.values())
    return dict(given) | {name: left * size / total for name, size in rest.items()}


def _read(array: Array, rows: npt.NDArray[np.int64]) -> Tensor:
    if isinstance(array, Tensor):
        return array[torch.from_numpy(rows).to(array.device, non_blocking=True)]
    return torch.from_numpy(array[rows])
