from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbdcnn.artifacts.manifest import Row
from mbdcnn.data.folds import Fold, fold_of
from mbdcnn.errors import UserError


def row(number: int, label: int | None, patient: str | None = None) -> Row:
    return Row(f"image{number}", "train", label, "", 9, 9, patient, True, "", (0,), 0, None)


labels = st.lists(st.sampled_from([None, 0, 0, 0, 1, 2]), min_size=1, max_size=60)


@given(labels, st.integers(2, 6))
def test_folds_are_of_equal_size_and_class_mix(labels: list[int | None], folds: int) -> None:
    rows = [row(number, label) for number, label in enumerate(labels)]
    fold = fold_of(rows, folds)
    assert fold.keys() == {row.id for row in rows}
    assert set(fold.values()) <= set(range(folds))
    for group in (labels, *([label] for label in set(labels))):
        sizes = Counter(fold[row.id] for row in rows if row.label in group)
        counts = [sizes[number] for number in range(folds)]
        assert max(counts) - min(counts) <= 1


@given(
    st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from([None, "p", "q", "r"])), max_size=30),
    st.integers(2, 5),
    st.randoms(),
)
def test_the_order_of_the_images_does_not_matter(
    found: list[tuple[int | None, str | None]], folds: int, rng: random.Random
) -> None:
    rows = [row(number, *each) for number, each in enumerate(found)]
    expected = fold_of(rows, folds)
    rng.shuffle(rows)
    assert fold_of(rows, folds) == expected


def test_a_patients_images_stay_together_and_a_large_patient_fills_a_fold() -> None:
    rows = [row(number, 0, f"patient{number // 4}") for number in range(40)]
    rows += [row(100 + number, 0, "many") for number in range(20)]
    fold = fold_of(rows, 3)
    for patient in {row.patient for row in rows}:
        assert len({fold[row.id] for row in rows if row.patient == patient}) == 1
    assert sorted(Counter(fold.values()).values()) == [20, 20, 20]


def test_a_patient_named_like_an_image_is_another_group() -> None:
    rows = [row(number, 0) for number in range(4)] + [row(9, 0, "image0")]
    assert len(fold_of(rows, 2)) == 5


def test_the_division_is_that_of_the_ids_and_is_mixed() -> None:
    rows = [row(number, 0) for number in range(30)]
    fold = fold_of(rows, 3)
    assert [fold[f"image{number}"] for number in range(30)] != [number % 3 for number in range(30)]
    renamed = fold_of([replace(row, id=f"other-{row.id}") for row in rows], 3)
    assert [renamed[f"other-{row.id}"] for row in rows] != [fold[row.id] for row in rows]


def test_a_fold_and_the_others_make_up_all_rows() -> None:
    rows = [row(number, number % 3, None) for number in range(20)]
    seen = []
    for number in range(4):
        others, inside = Fold.parse(f"{number}/4").split(rows)
        assert sorted([*others, *inside], key=lambda each: int(each.id[5:])) == rows
        seen += inside
    assert len(seen) == len(rows)


@pytest.mark.parametrize("text", ["", "1", "5/5", "-1/5", "0/1", "a/b", "1/5/2", "0/0"])
def test_what_is_no_fold_is_told(text: str) -> None:
    with pytest.raises(UserError, match="expected NUMBER/FOLDS"):
        Fold.parse(text)
