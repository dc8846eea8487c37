from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest
from PIL import Image

from mbdcnn.config import Config, load_config, with_classes
from mbdcnn.data.prepare import prepare, summary_lines
from mbdcnn.data.sources import read_sources
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rows = [["image", "label"]]
    for number in range(20):
        Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append([f"{number}.png", "malignant" if number % 4 else "benign"])
    with (tmp_path / "mine.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return tmp_path / "mine.csv"


def test_classes_and_splits_of_a_table_that_nobody_gave_are_found_and_said(mine: Path) -> None:
    config, [source] = read_sources([mine], Config())
    assert config.classes == ("benign", "malignant")
    assert config.data.views.rare_classes == ("malignant",)
    assert {record.label for record in source.records} == {0, 1}
    assert {record.split for record in source.records} == {"train", "validation", "test"}
    assert source.notes[0].startswith("mine: no split column: 70/15/15 by image, seed 0: train 1")
    assert source.notes[1].startswith("operating points will be for malignant; classes from the table: benign 5, mal")


def test_classes_that_are_given_and_those_of_other_layouts_hold(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class 'benign' is not one of the configured classes: nevus, wart"):
        read_sources([mine], Config(classes=("nevus", "wart")))
    generate(tmp_path / "generated", {"train": 3}, size=(60, 44), seed=1)
    config, _ = read_sources([tmp_path / "generated"], Config())
    assert config == Config()
    with pytest.raises(UserError, match="row 2: class 'benign' is not one of the configured classes: nevus, melanoma"):
        read_sources([tmp_path / "generated", mine], Config())


def test_a_class_that_is_not_configured_may_be_added_as_the_line_says(mine: Path) -> None:
    with pytest.raises(UserError, match="correct it, or add it: --set") as refused:
        read_sources([mine], load_config("bundled", ["classes=[benign, wart]"]))
    remedy = shlex.split(str(refused.value).partition("--set ")[2])
    config, [source] = read_sources([mine], load_config("bundled", remedy))
    assert config.classes == ("benign", "wart", "malignant")
    assert {record.label for record in source.records} == {0, 2}


def test_a_folder_that_holds_a_table_is_told_to_name_it(mine: Path) -> None:
    with pytest.raises(UserError, match=r"not a data set that is recognised.* name it: ") as refused:
        read_sources([mine.parent], Config())
    named = str(refused.value).rpartition(": ")[2]
    assert read_sources([Path(named)], Config()) == read_sources([mine], Config())


def test_data_prepared_from_it_fit_a_training_without_classes(mine: Path, tmp_path: Path, tiny_config) -> None:
    data = prepare(mine, tmp_path / "data", tiny_config())
    assert data.classes == ("benign", "malignant")
    assert any(line.startswith("mine: no split column: 70/15/15") for line in summary_lines(data))
    assert any("classes from the table: benign 5, malignant 15" in line for line in summary_lines(data))
    data.check_made_with(with_classes(tiny_config(), data.classes))
    # Nor does another seed divide the table otherwise.
    written = (data.path / data.filename).stat().st_mtime_ns
    again = prepare(mine, tmp_path / "data", tiny_config("seed=7"), overwrite=False)
    assert (again.path / again.filename).stat().st_mtime_ns == written
