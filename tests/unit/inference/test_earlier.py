"""What an earlier prediction left, and which of it a later one removes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbdcnn.errors import UserError
from mbdcnn.inference.earlier import check_free, free_folder, has_results, results_in
from mbdcnn.inference.tables import writing_tables


def results(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    with writing_tables(folder, ["nevus"], []) as add:
        for name in names:
            add({"file": f"{name}.jpg", "name": name, "probabilities": {"nevus": 1.0}})
            (folder / f"{name}_mask.png").touch()
    return folder


def test_the_first_folder_without_results_is_free(tmp_path: Path) -> None:
    place = tmp_path / "predictions"
    assert free_folder(place) == place
    place.mkdir()
    (place / "a_mask.png").touch()
    assert free_folder(place) == place  # of a prediction that was stopped
    place.with_name("predictions").rename(tmp_path / "away")
    results(place, "a")
    assert free_folder(place) == tmp_path / "predictions-2"
    results(tmp_path / "predictions-2", "a")
    assert free_folder(place) == tmp_path / "predictions-3"


def test_finished_results_are_in_the_way_and_the_remedy_is_named(tmp_path: Path) -> None:
    check_free(tmp_path / "absent")
    with pytest.raises(
        UserError, match=r"out: results of an earlier prediction lie there; .* --out, or .* --overwrite"
    ):
        check_free(results(tmp_path / "out", "a"))


def test_what_the_table_lists_belongs_to_it_and_nothing_else(tmp_path: Path) -> None:
    folder = results(tmp_path / "out", "a", "b")
    (folder / "mine_mask.png").touch()
    (folder / "a_report.dcm").touch()
    assert {file.name for file in results_in(folder)} == {"a_mask.png", "b_mask.png", "a_report.dcm"}
    assert results_in(tmp_path / "absent") == set()


def test_a_strangers_table_names_no_files_elsewhere(tmp_path: Path) -> None:
    folder = results(tmp_path / "out", "a")
    (tmp_path / "x_mask.png").touch()
    (folder / "predictions.json").write_text('[\n{"name": "../x"},\n{"name": "a"}\n]\n')
    assert {file.name for file in results_in(folder)} == {"a_mask.png"}


@pytest.mark.parametrize("content", ['[\n{"name": 3}\n]', "[\n{broken\n]", "[\n{}\n]", "[\n" + '{"a":' * 100_000])
def test_a_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    folder = results(tmp_path / "out", "a")
    (folder / "predictions.json").write_text(content)
    assert has_results(folder)
    with pytest.raises(UserError, match=r"predictions\.json: damaged; name another --out, or remove"):
        results_in(folder)


def test_tables_are_what_says_that_a_prediction_is_finished(tmp_path: Path) -> None:
    assert json.loads((results(tmp_path / "out", "a") / "predictions.json").read_text())[0]["name"] == "a"
    (tmp_path / "out" / "predictions.json").unlink()
    assert not has_results(tmp_path / "out")
