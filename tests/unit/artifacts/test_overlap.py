from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.overlap import check_apart, connected, identical, torn_groups, torn_images
from mbdcnn.artifacts.seen import OFFICIAL_TWINS
from mbdcnn.errors import UserError


def row(name: str, split: str, patient: str | None = None, pixels: str = "") -> Row:
    return Row(name, split, 0, "", 9, 9, patient, True, pixels or name, (0,), None, None)


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), max_size=12))
def test_things_are_connected_by_way_of_others(keys: list[list[int]]) -> None:
    names = connected(keys)
    groups: list[set[int]] = []
    for each in keys:  # the plain way: join the groups that a thing touches
        touched = [group for group in groups if group & set(each)]
        groups = [group for group in groups if group not in touched] + [set(each).union(*touched)]
    for one, first in zip(keys, names, strict=True):
        assert {first} <= next(group for group in groups if one[0] in group)
        for other, second in zip(keys, names, strict=True):
            together = any(one[0] in group and other[0] in group for group in groups)
            assert (first == second) is together


def test_patients_in_several_splits_are_named_with_their_counts() -> None:
    rows = [row("a", "train", "p"), row("b", "train", "p"), row("c", "test", "p"), row("d", "test", "q")]
    assert torn_groups(rows) == ["p (train 2, test 1)"]
    assert torn_groups(rows[:2]) == []
    assert torn_groups([row("a", "train"), row("b", "test")]) == []


def test_equal_pixels_in_several_splits_are_named() -> None:
    rows = [row("a", "train", pixels="x"), row("b", "validation", pixels="x"), row("c", "train", pixels="y")]
    assert torn_images(rows) == ["a (train) = b (validation)"]
    within = [*rows[:1], replace(rows[1], split="train")]
    assert torn_images(within) == []
    assert len(identical(within)) == 1


def test_what_is_torn_is_refused_with_the_flag_that_allows_it() -> None:
    apart = [row("a", "train", "p"), row("b", "test", "q")]
    check_apart(apart, "data")
    for more, told in (
        (row("c", "test", "p"), "data: 1 patients or lesions, such as p (train 1, test 1), lie in more than one split"),
        (row("c", "test", pixels="a"), "data: 1 images with equal pixels, such as a (train) = c (test), lie in more"),
    ):
        with pytest.raises(UserError) as error:
            check_apart([*apart, more], "data")
        assert str(error.value).startswith(told)
        assert "--allow-overlap" in str(error.value)


def test_the_splits_of_the_challenge_are_not_refused_for_its_own_twins() -> None:
    first, second = sorted(OFFICIAL_TWINS)
    rows = [row(first, "train", pixels="same"), row(second, "validation", pixels="same")]
    check_apart(rows, "data")
    assert torn_images(rows)
    with pytest.raises(UserError):
        check_apart([row("a", "train", pixels="same"), row("b", "test", pixels="same"), *rows], "data")
