from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbdcnn.artifacts import pack, unpack
from mbdcnn.training.batches import (
    ClassificationPatches,
    SegmentationTraining,
    SegmentationValidation,
    TrainingOrder,
    as_images,
    as_masks,
    balancing_weights,
    steps_per_epoch,
)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4).map(lambda n: 8 * n))))
def test_unpacking_on_the_device_undoes_packing(masks: np.ndarray) -> None:
    assert np.array_equal(as_masks(torch.from_numpy(pack(masks)))[:, 0].numpy(), masks)


def test_stored_pixels_become_network_input() -> None:
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    images = as_images(pixels)
    assert images.shape == (2, 3, 5, 7)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images[1, 2, 3, 4], pixels[1, 3, 4, 2] / 255)


def of_split(data, split: str):
    return [row for row in data.rows if row.split == split]


def test_segmentation_batches_hold_what_belongs_together(data, experiment) -> None:
    rows, masks = of_split(data, "train")[::-1], experiment.results.masks
    batch = SegmentationTraining(data, rows, masks)[[0, 3]]
    for place, row in enumerate((rows[0], rows[3])):
        assert np.array_equal(batch["images"][place], data.training_images[row.training_row])
        assert np.array_equal(batch["truth"][place], data.training_masks[row.training_row])
        assert np.array_equal(batch["coarse"][place], masks.patches[row.views[0]])
        assert batch["frames"][place].tolist() == [row.width, row.height]
    assert batch["positions"].tolist() == [0, 3]
    assert "coarse" not in SegmentationTraining(data, rows)[[0]]


def test_validation_masks_are_those_of_the_picture(data) -> None:
    rows = of_split(data, "validation")[::-1]
    batch = SegmentationValidation(data, rows)[[1, 2]]
    for place, row in enumerate(rows[1:3]):
        assert np.array_equal(batch["images"][place], data.patches[row.views[0]])
        assert np.array_equal(batch["truth"][place], data.masks[data.rows.index(row)])
        # The truth at its own size, squashed by nearest neighbour in plain indexing.
        truth, side = data.truth(row), 32
        lines = ((np.arange(side) + 0.5) * truth.shape[0] / side).astype(int)
        columns = ((np.arange(side) + 0.5) * truth.shape[1] / side).astype(int)
        assert np.array_equal(unpack(batch["truth"][place].numpy()), truth[np.ix_(lines, columns)])


def test_patches_know_their_picture_and_label(data, experiment) -> None:
    rows, masks = of_split(data, "train"), experiment.results.masks
    patches = ClassificationPatches(data, rows, masks)
    expected = [(owner, view) for owner, row in enumerate(rows) for view in row.views]
    assert len(patches) == len(expected)
    batch = patches[list(range(len(expected)))]
    for place, (owner, view) in enumerate(expected):
        assert patches.owners[place] == owner
        assert batch["labels"][place] == rows[owner].label
        assert np.array_equal(batch["images"][place], data.patches[view])
        assert np.array_equal(batch["coarse"][place], masks.patches[view])


def training_order(count, batch_size, boundaries, seed, step=0, **options) -> TrainingOrder:
    return TrainingOrder(count, batch_size, boundaries, seed, current_step=lambda: step, **options)


orders = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))


@given(orders)
def test_each_pass_takes_no_sample_twice_and_passes_differ(order: tuple[int, int, int]) -> None:
    count, batch_size, seed = order
    samples = training_order(count, batch_size, [10**6], seed)
    steps = steps_per_epoch(count, batch_size)
    passes = []
    for turn in range(3):
        taken = [place for step in range(turn * steps, (turn + 1) * steps) for place in samples.batch(step)]
        assert len(set(taken)) == len(taken) == min(batch_size, count) * steps
        assert set(taken) <= set(range(count))
        passes.append(tuple(taken))
    if count > 8:
        assert len(set(passes)) == 3


def test_every_sample_has_its_turn() -> None:
    samples = training_order(10, 4, [100], 0)
    assert {place for step in range(40) for place in samples.batch(step)} == set(range(10))


@given(orders, st.integers(0, 60))
def test_any_step_can_be_resumed_at(order: tuple[int, int, int], step: int) -> None:
    count, batch_size, seed = order
    through = training_order(count, batch_size, [100], seed)
    expected = [through.batch(number) for number in range(step + 3)][step:]
    resumed = training_order(count, batch_size, [100], seed)
    assert [resumed.batch(number) for number in range(step, step + 3)] == expected


@given(orders, st.integers(1, 4))
def test_processes_share_a_batch_without_overlap(order: tuple[int, int, int], world_size: int) -> None:
    count, batch_size, seed = order
    whole = training_order(count, batch_size, [100], seed)
    for step in (0, 7):
        shares = [
            training_order(count, batch_size, [100], seed, rank=rank, world_size=world_size).batch(step)
            for rank in range(world_size)
        ]
        assert sorted(place for share in shares for place in share) == sorted(whole.batch(step))


@pytest.mark.parametrize(("step", "length"), [(0, 3), (1, 2), (3, 1), (4, 4), (7, 1), (8, 0)])
def test_an_iteration_goes_from_the_current_step_to_the_next_boundary(step: int, length: int) -> None:
    order = training_order(10, 5, [3, 4, 8], 0, step)
    assert list(order) == [order.batch(number) for number in range(step, step + length)]


def test_the_seed_decides_the_order() -> None:
    first, second = (training_order(30, 30, [1], seed).batch(0) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize(("balance", "rare"), [(0.0, 0.1), (1.0, 0.5), (0.5, 0.3)])
def test_balancing_moves_from_as_they_come_to_equally_often(balance: float, rare: float) -> None:
    labels = np.array([0] * 90 + [2] * 10)
    weights = balancing_weights(labels, balance)
    assert weights.sum() == pytest.approx(1)
    assert weights[labels == 2].sum() == pytest.approx(rare)
    order = training_order(100, 100, [1], 0, weights=weights)
    drawn = np.concatenate([labels[order.batch(step)] for step in range(40)])
    assert (drawn == 2).mean() == pytest.approx(rare, abs=0.03)
