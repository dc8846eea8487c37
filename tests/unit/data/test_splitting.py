from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mbdcnn.data.readers.records import TABLE, RawData, Record
from mbdcnn.data.splitting import divided
from mbdcnn.errors import UserError


def records(folder: Path, count: int, per_patient: int = 0, labels: int = 2) -> list[Record]:
    made = []
    for number in range(count):
        image = folder / f"{number}.jpg"
        image.write_bytes(b"x" * (number + 1))
        patient = f"P{number // per_patient}" if per_patient else None
        made.append(Record(f"i{number}", image, None, number // max(per_patient, 1) % labels, "", patient))
    return made


def source(folder: Path, records: list[Record], name: str = "mine") -> RawData:
    return RawData(TABLE, folder, records, [folder / f"{name}.csv"])


def splits(sources: list[RawData]) -> dict[str, str]:
    return {record.id: record.split for each in sources for record in each.records}


def test_each_class_is_divided_and_what_was_done_is_said(tmp_path: Path) -> None:
    [made] = divided([source(tmp_path, records(tmp_path, 40))])
    counts = Counter((record.label, record.split) for record in made.records)
    assert counts == {(label, split): n for label in (0, 1) for split, n in
                      {"train": 14, "validation": 3, "test": 3}.items()}  # fmt: skip
    assert made.notes == ["mine: no split column: 70/15/15 by image, seed 0: train 28, validation 6, test 6"]


def test_patients_stay_whole_and_the_division_depends_on_nothing_else(tmp_path: Path) -> None:
    given = records(tmp_path, 60, per_patient=3)
    [made] = divided([source(tmp_path, given)])
    of_patient = {(record.patient, record.split) for record in made.records}
    assert len(of_patient) == 20
    assert {split for _, split in of_patient} == {"train", "validation", "test"}
    assert "by patient, seed 0: train 42, validation 12, test 6" in made.notes[0]
    assert splits(divided([source(tmp_path, given[::-1])])) == splits([made])
    lesions = [replace(record, patient=f"lesion {record.patient}") for record in given]
    assert "by lesion" in divided([source(tmp_path, lesions)])[0].notes[0]


def test_equal_files_stay_together(tmp_path: Path) -> None:
    given = records(tmp_path, 30)
    for record in given[1:12]:
        record.image.write_bytes(given[0].image.read_bytes())
    of_id = splits(divided([source(tmp_path, given)]))
    assert len({of_id[record.id] for record in given[:12]}) == 1


def test_a_patient_whose_split_another_table_gives_goes_there(tmp_path: Path) -> None:
    given = records(tmp_path, 30, per_patient=3)
    (tmp_path / "other").mkdir()
    other = [replace(record, split="test", id=f"o{record.id}") for record in records(tmp_path / "other", 1)]
    other = [replace(other[0], patient="p4")]
    first, second = divided([source(tmp_path, given), source(tmp_path / "other", other, "other")])
    assert {record.split for record in first.records if record.patient == "P4"} == {"test"}
    assert second.records == other
    assert not second.notes


def test_what_has_a_split_stays_as_it_is_and_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    given = [replace(record, split="train") for record in records(tmp_path, 3)]
    raw = source(tmp_path, given)
    assert divided([raw]) == [raw]
    gone = replace(given[0], split="", image=tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=r"gone\.jpg: No such file"):
        divided([source(tmp_path, [gone])])
