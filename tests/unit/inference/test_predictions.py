"""Several predictions together."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.errors import UserError
from mbdcnn.inference.overlay import COARSE, FINAL
from mbdcnn.inference.predict import predict_files
from mbdcnn.inference.predictions import GAP, LINE, Predictions
from mbdcnn.inference.predictor import Predictor

random = np.random.default_rng(0)
MAPS = ("mask.png", "coarse.png", "cam.jpg", "overlay.jpg")


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    files = [folder / "a.png", folder / "deep" / "a.png", folder / "b.png"]
    (folder / "deep").mkdir()
    for number, file in enumerate(files):
        Image.fromarray(random.integers(0, 256, (44 + number, 60, 3), np.uint8)).save(file)
    return files


@pytest.fixture(scope="module")
def predictions(predictor: Predictor, files: list[Path]) -> Predictions:
    return predictor(files)


def test_the_table_is_that_of_the_command(predictor: Predictor, predictions, files, tmp_path: Path) -> None:
    predict_files(predictor, files, tmp_path / "command", maps=False)
    predictions.save(tmp_path / "python")
    for name in ("predictions.csv", "predictions.json"):
        assert (tmp_path / "command" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()
    table = predictions.table()
    with (tmp_path / "python" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [list(row) for row in table] == [list(row) for row in rows]
    for cells, row in zip(table, rows, strict=True):
        for name, cell in cells.items():
            written = "" if cell is None else str(int(cell) if isinstance(cell, bool) else cell)
            assert written == row[name], name
    assert [row["name"] for row in table] == ["a", "a-2", "b"]
    assert not any(isinstance(cell, dict | list) for row in table for cell in row.values())


def test_the_maps_of_each_are_written(predictions, tmp_path: Path) -> None:
    folder = predictions.save(tmp_path / "out")
    maps = {f"{name}_{kind}" for name in ("a", "a-2", "b") for kind in MAPS}
    tables = {"predictions.csv", "predictions.json", "contact_sheet.jpg"}
    assert {file.name for file in folder.iterdir()} == maps | tables
    for prediction, name in zip(predictions, ("a", "a-2", "b"), strict=True):
        with Image.open(folder / f"{name}_mask.png") as mask:
            assert mask.mode == "1"
            assert np.array_equal(np.asarray(mask), prediction.mask)


def test_one_is_written_under_its_own_name(predictor: Predictor, predictions, tmp_path: Path) -> None:
    written = predictions[0].save(tmp_path / "out")
    assert sorted(file.name for file in written) == sorted(file.name for file in (tmp_path / "out").iterdir())
    assert {file.name for file in written} == {"a.json", *(f"a_{kind}" for kind in MAPS)}
    told = json.loads((tmp_path / "out" / "a.json").read_text())
    assert told == json.loads(json.dumps({"file": predictions[0].file, **predictions[0].to_dict()}))
    assert predictor(np.zeros((8, 8), np.uint8)).save(tmp_path / "x")[-1].name == "image.json"
    assert predictions[0].save(tmp_path / "x", "mine")[-1].name == "mine.json"


def test_an_overlay_has_both_outlines_on_the_image(predictor: Predictor) -> None:
    skin = (220, 170, 150)
    mask = np.zeros((200, 300), bool)
    mask[50:150, 100:200] = True
    prediction = predictor(Image.new("RGB", (300, 200), skin))
    drawn = replace(prediction, mask=mask, coarse_mask=np.roll(mask, 60, axis=1)).overlay()
    assert drawn.size == (300, 200)
    assert {COARSE, FINAL, skin} <= {colour for _, colour in drawn.getcolors(1 << 20)}


@pytest.mark.parametrize(("columns", "width"), [(None, 2), (1, 1), (9, 3)])
def test_a_sheet_shows_each_image(predictions, columns: int | None, width: int) -> None:
    sheet = predictions.contact_sheet(columns, side=100)
    assert sheet.width == width * (100 + GAP) + GAP
    pixels = np.asarray(sheet)
    for number in range(3):
        left, upper = GAP + number % width * (100 + GAP), GAP + number // width * (100 + 2 * LINE + GAP)
        cell, caption = pixels[upper:, left : left + 100][:100], pixels[upper + 100 :, left : left + 100][: 2 * LINE]
        assert (cell != 255).any(axis=2).mean() > 0.2  # 60 x 44 of 100 x 100
        assert (caption < 128).any()
    assert "data:image/jpeg;base64" in predictions._repr_html_()


def test_of_none_there_is_a_table_and_no_sheet(tmp_path: Path) -> None:
    assert Predictions().table() == []
    assert Predictions()._repr_html_() == "no images"
    with pytest.raises(UserError, match="no predictions to show"):
        Predictions().save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
