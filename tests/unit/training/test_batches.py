from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbdcnn.artifacts import pack, unpack
from mbdcnn.artifacts.manifest import Row
from mbdcnn.errors import UserError
from mbdcnn.training.batches import (
    ClassificationPatches,
    SegmentationTraining,
    SegmentationValidation,
    TrainingOrder,
    as_images,
    as_masks,
    sampling_weights,
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


def test_validation_masks_are_those_of_the_image(data) -> None:
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


def test_patches_know_their_image_and_label(data, experiment) -> None:
    rows, masks = of_split(data, "train"), experiment.results.masks
    patches = ClassificationPatches(data, rows, masks, truth=True)
    expected = [(owner, view) for owner, row in enumerate(rows) for view in row.views]
    assert len(patches) == len(expected)
    batch = patches[list(range(len(expected)))]
    for place, (owner, view) in enumerate(expected):
        assert patches.owners[place] == owner
        assert batch["targets"][place].tolist() == [float(index == rows[owner].label) for index in range(3)]
        assert batch["has_truth"][place] == (rows[owner].has_mask and view == rows[owner].views[0])
        assert np.array_equal(batch["truth"][place], data.masks[data.rows.index(rows[owner])])
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


def test_whole_images_alone_and_uncertain_labels(data, experiment) -> None:
    rows, masks = of_split(data, "train")[:3], experiment.results.masks
    rows[0] = replace(rows[0], shares=(0.5, 0.25, 0.25))
    patches = ClassificationPatches(data, rows, masks, crops=False)
    assert patches.ids == [row.id for row in rows]
    assert patches[[0]]["targets"].tolist() == [[0.5, 0.25, 0.25]]


def images_of(*groups: tuple[str, int | None, int]) -> list[Row]:
    row = Row("", "train", None, "", 8, 8, None, False, "", (0,), None, None)
    return [replace(row, origin=origin, label=label) for origin, label, count in groups for _ in range(count)]


def drawn(rows: list[Row], chances: np.ndarray, **wanted: object) -> float:
    matching = [all(getattr(row, name) == value for name, value in wanted.items()) for row in rows]
    return float(chances[np.array(matching)].sum())


def test_classes_are_balanced_within_each_source_and_sources_take_their_shares() -> None:
    rows = images_of(("a", 0, 80), ("a", 1, 20), ("b", 1, 40), ("b", 2, 10), ("c", 0, 150))
    chances = sampling_weights(rows, 1.0, {"a": 0.5})
    assert chances is not None
    assert drawn(rows, chances, origin="a", label=0) == pytest.approx(0.25)
    assert drawn(rows, chances, origin="a", label=1) == pytest.approx(0.25)
    assert drawn(rows, chances, origin="b", label=2) == pytest.approx(0.5 * 50 / 200 / 2)
    assert drawn(rows, chances, origin="c") == pytest.approx(0.5 * 150 / 200)


def test_three_images_of_a_class_do_not_become_half_of_what_is_seen() -> None:
    rows = images_of(("a", 0, 997), ("a", 1, 3))
    chances = sampling_weights(rows, 1.0, {})
    assert chances is not None
    # 10 times as often as on average, beside the others that come half as often.
    assert drawn(rows, chances, label=1) == pytest.approx(30 / (30 + 997 * (1000 / 997 / 2)))


def test_weights_alone_count_and_without_any_wish_each_image_has_its_turn() -> None:
    rows = images_of(("a", 0, 4))
    assert sampling_weights(rows, 0.0, {}) is None
    rows[0] = replace(rows[0], weight=0.5)
    chances = sampling_weights(rows, 0.0, {})
    assert chances is not None
    assert chances == pytest.approx(np.array([1, 2, 2, 2]) / 7)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"z": 0.5}, "no training image is of the source z; there are a, b"),
        ({"a": 1.0}, "they sum to 1; expected less than 1"),
        ({"a": 0.5, "b": 0.4}, "they sum to 0.9; expected 1"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampling_weights(images_of(("a", 0, 2), ("b", 1, 2)), 0.0, shares)


@pytest.mark.parametrize(("balance", "rare"), [(1.0, 0.5), (0.5, 0.3)])
def test_balancing_moves_from_as_they_come_to_equally_often(balance: float, rare: float) -> None:
    labels = np.array([0] * 90 + [2] * 10)
    weights = sampling_weights(images_of(("a", 0, 90), ("a", 2, 10)), balance, {})
    assert weights is not None
    assert weights.sum() == pytest.approx(1)
    assert weights[labels == 2].sum() == pytest.approx(rare)
    order = training_order(100, 100, [1], 0, weights=weights)
    drawn = np.concatenate([labels[order.batch(step)] for step in range(40)])
    assert (drawn == 2).mean() == pytest.approx(rare, abs=0.03)
