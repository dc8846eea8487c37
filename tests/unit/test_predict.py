from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.predict import find_pictures, predict_files, unique_names
from mbdcnn.inference.predictor import Predictor

random = np.random.default_rng(0)


def picture(file: Path, width: int = 60, height: int = 44) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(file)
    return file


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


def test_results_of_each_picture_and_tables_of_all(predictor: Predictor, tmp_path: Path) -> None:
    files = [picture(tmp_path / "in" / "a.png"), picture(tmp_path / "in" / "b.png", 30, 70)]
    done: list[tuple[int, int]] = []
    entries = predict_files(predictor, files, tmp_path / "out", progress=lambda *counts, **_: done.append(counts))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "predictions.csv",
        "predictions.json",
        *(f"{name}_{kind}" for name in "ab" for kind in ("mask.png", "coarse.png", "cam.jpg", "overlay.jpg")),
    }
    assert done[-1][:2] == (2, 2)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == entries
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["a", "b"]
    for entry, row, file in zip(entries, rows, files, strict=True):
        expected = predictor.predict(file)
        with Image.open(tmp_path / "out" / f"{entry['name']}_mask.png") as mask:
            assert np.array_equal(np.asarray(mask) > 0, expected.mask)
        with Image.open(tmp_path / "out" / f"{entry['name']}_coarse.png") as mask:
            assert np.array_equal(np.asarray(mask) > 0, expected.coarse_mask)
        for kind in ("cam", "overlay"):
            with Image.open(tmp_path / "out" / f"{entry['name']}_{kind}.jpg") as drawn:
                assert drawn.size == expected.mask.shape[::-1]
        assert row["decision"] == entry["decision"] == expected.decision
        assert float(row["melanoma"]) == pytest.approx(expected.probabilities["melanoma"], abs=1e-6)
        assert float(row["uncertainty_entropy"]) == pytest.approx(expected.uncertainty.entropy, abs=1e-5)


def test_an_unreadable_picture_is_told_and_the_others_go_on(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    files = [tmp_path / "in" / "bad.jpg", picture(tmp_path / "in" / "good.png")]
    bad, good = predict_files(predictor, files, tmp_path / "out")
    assert "bad.jpg" in bad["problem"]
    assert "problem" not in good
    assert (tmp_path / "out" / "good_mask.png").is_file()
    assert not list((tmp_path / "out").glob("bad*"))
    assert "bad.jpg" in (tmp_path / "out" / "predictions.csv").read_text()


def test_two_inputs_of_one_name_have_two_results(predictor: Predictor, tmp_path: Path) -> None:
    files = [picture(tmp_path / folder / "lesion.png", width) for folder, width in (("x", 60), ("y", 40))]
    entries = predict_files(predictor, files, tmp_path / "out")
    sizes = []
    for entry in entries:
        with Image.open(tmp_path / "out" / f"{entry['name']}_mask.png") as mask:
            sizes.append(mask.width)
    assert sizes == [60, 40]


def test_names_are_unique_whatever_they_are() -> None:
    files = [Path(name) for name in ("a.jpg", "b/a.png", "a-2.png", "A.bmp", "a.tif")]
    names = unique_names(files)
    assert names[:2] == ["a", "a-2"]
    assert len({name.lower() for name in names}) == len(files)


def test_results_do_not_go_among_the_pictures(predictor: Predictor, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    mine = picture(tmp_path / "a_mask.png").read_bytes()
    with pytest.raises(UserError, match="choose another folder for the results"):
        predict_files(predictor, [file], tmp_path)
    assert (tmp_path / "a_mask.png").read_bytes() == mine


def test_files_folders_and_patterns_are_found_once_and_masks_passed_over(tmp_path: Path) -> None:
    files = [picture(tmp_path / "b.png"), picture(tmp_path / "deep" / "a.JPG")]
    picture(tmp_path / "b_segmentation.png")
    picture(tmp_path / "b_superpixels.png")
    (tmp_path / "notes.txt").write_text("x")
    picture(tmp_path / "out" / "b_mask.png")
    odd = tmp_path / "picture.dat"
    odd.write_bytes(b"")
    assert find_pictures([str(tmp_path)], tmp_path / "out") == files
    assert len(find_pictures([str(tmp_path)])) == 3
    assert find_pictures([str(tmp_path / "*.png"), str(files[0])], tmp_path / "out") == files[:1]
    assert find_pictures([str(tmp_path / "**" / "*.JPG")]) == files[1:]
    assert find_pictures([str(odd)]) == [odd]
    for nothing in ("absent.jpg", "*.gif", "deep/*.png"):
        with pytest.raises(UserError, match="no pictures there"):
            find_pictures([str(tmp_path / nothing)])
