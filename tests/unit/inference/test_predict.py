from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbdcnn.data.images.decoding import image_size
from mbdcnn.data.readers.folders import find_images
from mbdcnn.data.synthetic import draw
from mbdcnn.errors import UserError
from mbdcnn.inference.predict import masks_in, predict_files
from mbdcnn.inference.prediction import DRAWN_SIDE
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.tables import Entries, unique_names, writing_tables

random = np.random.default_rng(0)


def image(file: Path, width: int = 60, height: int = 44) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(file)
    return file


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor.load(bundle.path, device="cpu")


def test_masks_of_a_folder_are_the_coarse_masks(predictor: Predictor, tmp_path: Path) -> None:
    files = [image(tmp_path / "in" / name) for name in ("ISIC_0000.jpg", "ISIC_0001.png")]
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, left in (("ISIC_0000_segmentation.png", 10), ("ISIC_0001.png", 30)):
        mask = np.zeros((44, 60), bool)
        mask[10:30, left : left + 20] = True
        Image.fromarray(mask).save(masks / name)
    entries = predict_files(predictor, files, tmp_path / "out", prompts=masks_in(masks, files))
    assert [entry["coarse_mask_source"] for entry in entries] == ["given", "given"]
    for name, left in (("ISIC_0000", 10), ("ISIC_0001", 30)):
        with Image.open(tmp_path / "out" / f"{name}_coarse.png") as coarse:
            assert np.flatnonzero(np.asarray(coarse).any(axis=0))[[0, -1]].tolist() == [left, left + 19]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["coarse_mask_source"] for row in rows] == ["given", "given"]
    for entry, row in zip(entries, rows, strict=True):
        assert int(row["area_pixels"]) == entry["area_pixels"]
        assert row["longest_diameter_millimetres"] == ""


def test_a_mask_of_another_size_is_a_problem_of_its_image_alone(predictor: Predictor, tmp_path: Path) -> None:
    files = [image(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((44, 60), bool)).save(tmp_path / "masks" / "a.png")
    Image.fromarray(np.ones((44, 61), bool)).save(tmp_path / "masks" / "b.png")
    good, bad = predict_files(predictor, files, tmp_path / "out", prompts=masks_in(tmp_path / "masks", files))
    assert good["coarse_mask_source"] == "given"
    assert "b.png: 61 x 44 pixels, and its image 60 x 44" in bad["problem"]


def test_images_without_a_mask_are_named(tmp_path: Path) -> None:
    files = [image(tmp_path / "in" / f"{name}.png") for name in "abc"]
    masks = tmp_path / "masks"
    with pytest.raises(UserError, match="masks: no such folder of masks"):
        masks_in(masks, files)
    masks.mkdir()
    Image.fromarray(np.ones((44, 60), bool)).save(masks / "b_mask.png")
    with pytest.raises(UserError, match=r"masks: no mask of 2 of 3 images: a.*c; they are looked for as ID\.png"):
        masks_in(masks, files)
    with pytest.raises(UserError, match="have one name, so masks cannot be told apart"):
        masks_in(masks, [*files, image(tmp_path / "other" / "b.png")])
    # The images' own folder holds no masks of them.
    with pytest.raises(UserError, match="no mask of 3 of 3 images"):
        masks_in(tmp_path / "in", files)


def test_results_of_each_image_and_tables_of_all(predictor: Predictor, tmp_path: Path) -> None:
    files = [image(tmp_path / "in" / "a.png"), image(tmp_path / "in" / "b.png", 30, 70)]
    done: list[tuple[int, int]] = []
    entries = predict_files(predictor, files, tmp_path / "out", progress=lambda *counts, **_: done.append(counts))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "predictions.csv",
        "predictions.json",
        *(f"{name}_{kind}" for name in "ab" for kind in ("mask.png", "coarse.png", "cam.jpg", "overlay.jpg")),
    }
    assert done[-1][:2] == (2, 2)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == list(entries)
    assert len(entries) == 2
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["a", "b"]
    for entry, row, file in zip(entries, rows, files, strict=True):
        expected = predictor.predict(file)
        with Image.open(tmp_path / "out" / f"{entry['name']}_mask.png") as mask:
            assert np.array_equal(np.asarray(mask) > 0, expected.mask)
        with Image.open(tmp_path / "out" / f"{entry['name']}_coarse.png") as mask:
            assert np.array_equal(np.asarray(mask) > 0, expected.coarse_mask)
        assert entry["answer"] == expected.answer
        for kind in ("cam", "overlay"):
            with Image.open(tmp_path / "out" / f"{entry['name']}_{kind}.jpg") as drawn:
                height, width = expected.mask.shape
                # Below the map its key, which is wider than so small an image.
                assert (drawn.width == width) == (kind == "overlay")
                assert drawn.height == height + (22 if kind == "cam" else 0)
        for name, reached in expected.decisions.items():
            assert row[name] == str(int(reached))
        assert float(row["ood_score"]) == pytest.approx(expected.ood_score, rel=1e-3)
        assert row["looks_like_dermoscopy"] == "0"
        assert row["decision"] == entry["decision"] == expected.decision
        assert float(row["melanoma"]) == pytest.approx(expected.probabilities["melanoma"], abs=1e-6)
        assert float(row["uncertainty_entropy"]) == pytest.approx(expected.uncertainty.entropy, abs=1e-5)


def test_an_unreadable_image_is_told_and_the_others_go_on(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    files = [tmp_path / "in" / "bad.jpg", image(tmp_path / "in" / "good.png")]
    bad, good = predict_files(predictor, files, tmp_path / "out")
    assert "bad.jpg" in bad["problem"]
    assert "problem" not in good
    assert (tmp_path / "out" / "good_mask.png").is_file()
    assert not list((tmp_path / "out").glob("bad*"))
    assert "bad.jpg" in (tmp_path / "out" / "predictions.csv").read_text()


def test_two_inputs_of_one_name_have_two_results(predictor: Predictor, tmp_path: Path) -> None:
    files = [image(tmp_path / folder / "lesion.png", width) for folder, width in (("x", 60), ("y", 40))]
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


def test_a_stopped_prediction_leaves_the_tables_of_the_one_before(
    predictor: Predictor, tmp_path: Path, monkeypatch
) -> None:
    files = [image(tmp_path / "in" / f"{number}.png") for number in range(10)]
    predict_files(predictor, files[:1], tmp_path / "out")
    before = (tmp_path / "out" / "predictions.csv").read_bytes()

    def stop(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor, files, tmp_path / "out", progress=stop)
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == before
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with writing_tables(tmp_path, ["nevus"], []) as add:
            for number in range(count):
                add({"file": f"{number}.png", "name": "x" * 50, "probabilities": {"nevus": 0.5}})
        read = sum(1 for _ in Entries(tmp_path / "predictions.json", count))
        assert read == count
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    assert peak(1000) < 1.5 * peak(100)


def test_tables_of_nothing_are_empty_tables(tmp_path: Path) -> None:
    with writing_tables(tmp_path, ["nevus"], []):
        pass
    assert json.loads((tmp_path / "predictions.json").read_text()) == []
    assert list(Entries(tmp_path / "predictions.json", 0)) == []


def test_a_million_files_of_one_name_are_named_in_no_time() -> None:
    names = unique_names([Path("a.png")] * 20_000)
    assert names[-1] == "a-20000"
    assert len(set(names)) == 20_000


def test_results_do_not_go_among_the_images(predictor: Predictor, tmp_path: Path) -> None:
    file = image(tmp_path / "a.png")
    mine = image(tmp_path / "a_mask.png").read_bytes()
    with pytest.raises(UserError, match="choose another folder for the results"):
        predict_files(predictor, [file], tmp_path)
    assert (tmp_path / "a_mask.png").read_bytes() == mine


def find(*sources: Path, apart_from: Path | None = None) -> list[Path]:
    return list(find_images([str(source) for source in sources], apart_from).images)


def test_files_folders_and_patterns_are_found_once_and_masks_passed_over(tmp_path: Path) -> None:
    files = [image(tmp_path / "b.png"), image(tmp_path / "deep" / "a.JPG")]
    image(tmp_path / "b_segmentation.png")
    image(tmp_path / "b_superpixels.png")
    (tmp_path / "notes.txt").write_text("x")
    image(tmp_path / "out" / "b_mask.png")
    odd = tmp_path / "image.dat"
    odd.write_bytes(b"")
    assert find(tmp_path, apart_from=tmp_path / "out") == files
    assert find(tmp_path) == files
    assert find(tmp_path / "*.png", files[0], apart_from=tmp_path / "out") == files[:1]
    assert find(tmp_path / "**" / "*.JPG") == files[1:]
    assert find(odd) == [odd]
    for nothing, told in (("absent.jpg", "no such file"), ("*.gif", "no file fits"), ("deep/*.png", "no file fits")):
        with pytest.raises(UserError, match=told):
            find(tmp_path / nothing)


def test_a_large_jpeg_is_predicted_whole_with_an_overlay_worth_looking_at(predictor: Predictor, tmp_path: Path) -> None:
    image, _ = draw(np.random.default_rng(0), "nevus", (640, 480))
    image.resize((3200, 2400)).save(tmp_path / "large.jpg")
    (entry,) = predict_files(predictor, [tmp_path / "large.jpg"], tmp_path / "out")
    assert (entry["width"], entry["height"]) == (3200, 2400)
    assert image_size(tmp_path / "out" / "large_mask.png") == (3200, 2400)
    assert image_size(tmp_path / "out" / "large_overlay.jpg") == (DRAWN_SIDE, DRAWN_SIDE * 3 // 4)
