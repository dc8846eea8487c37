from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.data import read_raw
from mbdcnn.data.readers.groups import GROUP_COLUMNS, group_names
from mbdcnn.data.readers.records import join


@pytest.mark.parametrize("column", GROUP_COLUMNS)
def test_a_column_of_any_of_the_names_says_what_belongs_together(tmp_path: Path, column: str) -> None:
    for name in "abc":
        Image.new("RGB", (20, 16)).save(tmp_path / f"{name}.png")
    file = tmp_path / "t.csv"
    file.write_text(f"image,label,split,{column.upper()}\na.png,nevus,train,1\nb.png,nevus,test,1\nc.png,nevus,test,\n")
    raw = read_raw(file, ("nevus", "melanoma"))
    first, second, third = (record.patient for record in raw.records)
    assert first == second is not None
    assert third is None
    assert raw.notes == []


def test_a_lesion_joins_rows_of_which_one_names_the_patient() -> None:
    rows = [
        {"patient": "p", "lesion_id": "L1"},
        {"patient": "", "lesion_id": "L1"},
        {"patient": "p", "lesion_id": "L2"},
        {"patient": "", "lesion_id": "L2"},
        {"patient": "", "lesion_id": "L3"},
        {"patient": "q", "lesion_id": ""},
        {"patient": "", "lesion_id": ""},
    ]
    assert group_names(rows) == ["p", "p", "p", "p", "lesion L3", "q", None]


def test_a_lesion_named_like_a_patient_is_another_group() -> None:
    assert group_names([{"patient": "1", "lesion": ""}, {"patient": "", "lesion": "1"}]) == ["1", "lesion 1"]


def test_rows_that_name_nothing_are_each_alone() -> None:
    assert group_names([{}, {"patient": ""}]) == [None, None]


def test_names_in_another_case_are_one_in_a_table_and_across_tables(tmp_path: Path) -> None:
    assert group_names([{"patient": "Pt0"}, {"patient": "PT0"}, {"lesion": "l1"}]) == ["Pt0", "Pt0", "lesion l1"]
    sources = []
    for name, patient in (("a", "Pt0"), ("b", "pt0")):
        Image.new("RGB", (20, 16)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.csv").write_text(f"image,label,split,patient\n{name}.png,nevus,train,{patient}\n")
        sources.append(read_raw(tmp_path / f"{name}.csv", ("nevus", "melanoma")))
    assert [record.patient for record in join(sources).records] == ["Pt0", "Pt0"]
