from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import mbdcnn.data.prepare as prepare_module
from masks import decode_mask
from mbdcnn.artifacts import PreparedData, unpack
from mbdcnn.config import Config, load_config
from mbdcnn.data import read_raw
from mbdcnn.data.crops import least_side, view_boxes
from mbdcnn.data.images.decoding import decode_at_least, image_size
from mbdcnn.data.prepare import prepare, summary_lines
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError
from mbdcnn.inference.protocol import inputs_of_image, inputs_of_row

SETTINGS = ["data.image_size=32", "data.segmentation_size=48", "data.scales=[32, 48]", "runtime.workers=2"]
CONFIG: Config = load_config(None, SETTINGS)
BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


@pytest.fixture(scope="module")
def shared_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    generate(folder, {"train": 8, "validation": 4, "test": 4}, (64, 48))
    (folder / "ISIC-2017_Training_Part1_GroundTruth" / "SYN_0000001_segmentation.png").unlink()
    return folder


@pytest.fixture(scope="module")
def data(shared_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(shared_raw, tmp_path_factory.mktemp("prepared") / "data", CONFIG)


@pytest.fixture
def raw(shared_raw: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_raw, tmp_path / "raw"))


def _plain(image: Path, box: tuple[int, int, int, int], side: int) -> npt.NDArray[np.uint8]:
    with Image.open(image) as opened:
        return np.asarray(opened.convert("RGB").crop(box).resize((side, side), BICUBIC))


def test_every_array_is_what_the_plain_loop_gives(shared_raw: Path, data: PreparedData) -> None:
    records = {record.id: record for record in read_raw(shared_raw, CONFIG.classes).records}
    assert [row.id for row in data.rows] == sorted(records)
    filled = set()
    for position, row in enumerate(data.rows):
        record = records[row.id]
        rare = row.split == "train" and row.label in (1, 2)
        views = CONFIG.data.views
        boxes = view_boxes(row.width, row.height, views.rare_fractions if rare else views.fractions)
        assert len(row.views) == (15 if rare else 9) == len(boxes)
        for view, box in zip(row.views, boxes, strict=True):
            np.testing.assert_array_equal(data.patches[view], _plain(record.image, box, 32))
            filled.add(view)
        assert row.has_mask == (record.mask is not None)
        mask = unpack(data.masks[position])
        if record.mask is None:
            assert not mask.any()
            continue
        truth = Image.open(record.mask)
        np.testing.assert_array_equal(mask, np.asarray(truth.resize((32, 32), NEAREST)) > 0)
        np.testing.assert_array_equal(data.truth(row), np.asarray(truth) > 0)
        assert data.truth(row).shape == (row.height, row.width)
    assert filled == set(range(len(data.patches)))


def test_training_and_evaluation_arrays(shared_raw: Path, data: PreparedData) -> None:
    records = {record.id: record for record in read_raw(shared_raw, CONFIG.classes).records}
    training = [row for row in data.rows if row.training_row is not None]
    evaluation = [row for row in data.rows if row.evaluation_row is not None]
    assert {row.id for row in training} == {row.id for row in data.split("train") if row.has_mask}
    assert {row.split for row in evaluation} == {"validation", "test"}
    assert data.training_images.shape == (7, 48, 48, 3)
    assert data.training_masks.shape == (7, 48, 6)
    assert data.scale(48).shape == (8, 48, 48, 3)
    assert not (data.path / "scale_32.npy").exists()
    for row in training:
        record = records[row.id]
        whole = (0, 0, row.width, row.height)
        np.testing.assert_array_equal(data.training_images[row.training_row], _plain(record.image, whole, 48))
        assert record.mask is not None
        mask = np.asarray(Image.fromarray(decode_mask(record.mask)).resize((48, 48), NEAREST))
        np.testing.assert_array_equal(unpack(data.training_masks[row.training_row]), mask)
    for row in evaluation:
        whole = (0, 0, row.width, row.height)
        np.testing.assert_array_equal(data.scale(48)[row.evaluation_row], _plain(records[row.id].image, whole, 48))


def test_square_images_store_equal_views_once(data: PreparedData) -> None:
    square = [row for row in data.rows if row.width == row.height]
    assert square
    for row in square:
        assert len(set(row.views)) == len(row.views) // 2 + 1


def test_facts_and_summary(data: PreparedData) -> None:
    facts = data.provenance.facts
    assert facts["classes"]["train"] == {"nevus": 4, "melanoma": 2, "seborrheic_keratosis": 2}
    assert facts["with_mask"] == {"train": 7, "validation": 4, "test": 4}
    lines = summary_lines(data)
    assert lines[0] == f"16 images from ISIC-2017, {len(data.patches)} views for the classifier"
    assert lines[1] == "train: 8 (nevus 4, melanoma 2, seborrheic_keratosis 2); 7 with a mask"
    assert lines[4].startswith(
        "ISIC-2017_Training_Part1_GroundTruth: masks of 7 of 8 images, none of SYN_0000001; they"
    )
    assert len(lines) == 5
    PreparedData.open(data.path, verify=True)


def test_the_result_does_not_depend_on_the_number_of_workers(raw: Path, data: PreparedData, tmp_path: Path) -> None:
    alone = prepare(raw, tmp_path / "alone", load_config(None, [*SETTINGS, "runtime.workers=1"]))
    files = {name: digest for name, digest in alone.provenance.files.items() if name != "manifest.csv"}
    assert files == {name: data.provenance.files[name] for name in files}
    assert [row.pixels for row in alone.rows] == [row.pixels for row in data.rows]


def test_of_large_images_one_is_worked_on_at_a_time(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a table of bombs would take a gigabyte for every core."""
    now = most = 0

    def counted(self: object, *arguments: object) -> Image.Image:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.01)
        image = write_image(self, *arguments)
        now -= 1
        return image

    write_image = prepare_module.Writer._write_image
    monkeypatch.setattr(prepare_module.Writer, "_write_image", counted)
    for large, expected in ((10**9, {2, 3, 4}), (0, {1})):
        monkeypatch.setattr(prepare_module, "LARGE", large)
        most = 0
        prepare(raw, tmp_path / f"{large}", load_config(None, [*SETTINGS, "runtime.workers=4"]))
        assert most in expected


def test_progress_and_what_is_up_to_date(raw: Path, tmp_path: Path) -> None:
    out, steps = tmp_path / "out", []
    first = prepare(raw, out, CONFIG, lambda done, total: steps.append((done, total)))
    assert steps == [(done, 16) for done in range(1, 17)]
    steps.clear()
    touched = (out / "patches.npy").stat().st_mtime_ns
    again = prepare(raw, out, load_config(None, [*SETTINGS, "runtime.workers=1", "seed=7"]), lambda *_: steps.append(_))
    assert not steps
    assert again.provenance == first.provenance
    assert (out / "patches.npy").stat().st_mtime_ns == touched
    other = prepare(raw, out, load_config(None, [*SETTINGS, "data.image_size=48"]))
    assert other.patches.shape[1:] == (48, 48, 3)


def test_what_is_prepared_elsewhere_at_the_same_time_is_refused(raw: Path, tmp_path: Path) -> None:
    """The one that came first is not disturbed."""
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if done == 3:
            with ThreadPoolExecutor(1) as pool, pytest.raises(UserError) as error:
                pool.submit(prepare, raw, tmp_path / "out", CONFIG).result()
            refused.append(str(error.value))

    data = prepare(raw, tmp_path / "out", CONFIG, meanwhile)
    assert refused == [f"{tmp_path / 'out'}: another mbdcnn is writing it; wait for that one, then run again"]
    PreparedData.open(data.path, verify=True)
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}
    assert prepare(raw, tmp_path / "out", CONFIG).provenance == data.provenance


@pytest.mark.parametrize("column", ["patient", "lesion_id", "group"])
def test_patients_and_lesions_on_both_sides_of_a_split_are_told(raw: Path, tmp_path: Path, column: str) -> None:
    lines = [
        f"{file.relative_to(raw)},nevus,{'train' if number % 2 else 'test'},{number // 4}"
        for number, file in enumerate(sorted(raw.glob("*/SYN_???????.jpg")))
    ]
    (raw / "t.csv").write_text("\n".join([f"image,label,split,{column}", *lines]))
    data = prepare(raw / "t.csv", tmp_path / "out", CONFIG)
    assert len(data.provenance.facts["patients_across_splits"]) == 4
    warning = summary_lines(data)[-1]
    assert warning.startswith("warning: 4 patients or lesions have images in more than one split")
    assert "0 (train 2, test 2)" in warning


@pytest.mark.parametrize("kept", ["train", "test"])
def test_arrays_may_be_empty(raw: Path, tmp_path: Path, kept: str) -> None:
    other = {"train": ("Validation", "Test_v2"), "test": ("Training", "Validation")}[kept]
    for name in other:
        shutil.rmtree(raw / f"ISIC-2017_{name}_Data")
    data = prepare(raw, tmp_path / "out", CONFIG)
    assert {row.split for row in data.rows} == {kept}
    assert len(data.training_images) == len(data.training_masks) == (7 if kept == "train" else 0)
    assert data.scale(48).shape == (0 if kept == "train" else 4, 48, 48, 3)
    assert len(summary_lines(data)) == (3 if kept == "train" else 2)


def test_images_without_a_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / f"{name}.png")
    Image.new("L", (50, 40), 0).save(tmp_path / "mask.png")
    (tmp_path / "t.csv").write_text("image,mask,split,patient\na.png,mask.png,train,p\nb.png,,test,\n")
    data = prepare(tmp_path / "t.csv", tmp_path / "out", CONFIG)
    assert [(row.label, len(row.views), row.patient) for row in data.rows] == [(None, 1, "p"), (None, 9, None)]
    assert "empty masks: 1 (a)" in summary_lines(data)
    assert "train: 1 (unlabelled 1); 1 with a mask" in summary_lines(data)


def test_identical_images_are_told(raw: Path, tmp_path: Path) -> None:
    source = raw / "ISIC-2017_Training_Data" / "SYN_0000000.jpg"
    target = raw / "ISIC-2017_Test_v2_Data" / "SYN_2000000.jpg"
    shutil.copy(source, target)
    for split, name in (("Training", "SYN_0000000"), ("Test_v2", "SYN_2000000")):
        Image.new("L", image_size(source), 255).save(
            raw / f"ISIC-2017_{split}_Part1_GroundTruth" / f"{name}_segmentation.png"
        )
    data = prepare(raw, tmp_path / "out", CONFIG)
    assert data.provenance.facts["identical"] == [["SYN_0000000", "SYN_2000000"]]
    assert summary_lines(data)[-1].startswith("warning: 1 of these groups span splits")
    assert "SYN_0000000 (train) = SYN_2000000 (test)" in summary_lines(data)[-1]


@pytest.fixture
def large(tmp_path: Path) -> PreparedData:
    """The same large JPEG in two splits that make different things of it, and another one of its size."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).resize((521, 483), BICUBIC)
    for name in ("a.jpg", "b.jpg"):
        photo.save(tmp_path / name, quality=95)
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "c.jpg", quality=95)
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (100, 100, 300, 300))
    mask.save(tmp_path / "m.png")
    lines = ("image,mask,split,label", "a.jpg,m.png,train,melanoma", "b.jpg,m.png,test,nevus", "c.jpg,m.png,test,nevus")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return prepare(tmp_path / "t.csv", tmp_path / "out", CONFIG)


def test_large_jpegs_are_prepared_within_a_grey_level_of_the_plain_loop(large: PreparedData, tmp_path: Path) -> None:
    assert decode_at_least(tmp_path / "a.jpg", least_side(CONFIG.data)).shrunk == 2
    train = large.rows[0]
    assert (train.width, train.height) == (521, 483) == large.truth(train).shape[::-1]
    boxes = view_boxes(521, 483, CONFIG.data.views.rare_fractions)
    arrays = [(large.patches[view], box, 32) for view, box in zip(train.views, boxes, strict=True)]
    arrays += [(large.training_images[0], boxes[0], 48), (large.scale(48)[0], boxes[0], 48)]
    for array, box, side in arrays:
        difference = np.abs(array - _plain(tmp_path / "a.jpg", box, side).astype(int))
        assert 0 < difference.mean() < 1
    assert large.provenance.facts["identical"] == [["a", "b"]]


def test_large_jpegs_are_predicted_as_they_are_prepared(large: PreparedData, tmp_path: Path) -> None:
    row = large.split("test")[0]
    fresh = inputs_of_image(decode_at_least(tmp_path / "b.jpg", least_side(CONFIG.data)), CONFIG.data, "paper")
    stored = inputs_of_row(large, row, CONFIG.data)
    assert (fresh.width, fresh.height, fresh.views) == (521, 483, stored.views)
    np.testing.assert_array_equal(fresh.patches, stored.patches)
    for side, pixels in stored.scales.items():
        np.testing.assert_array_equal(fresh.scales[side], pixels)


def _mask_of_another_size(raw: Path) -> None:
    Image.new("L", (10, 12)).save(raw / "ISIC-2017_Training_Part1_GroundTruth" / "SYN_0000003_segmentation.png")


def _truncated_image(raw: Path) -> None:
    file = raw / "ISIC-2017_Validation_Data" / "SYN_1000002.jpg"
    file.write_bytes(file.read_bytes()[:-600])


def _text_as_mask(raw: Path) -> None:
    (raw / "ISIC-2017_Test_v2_Part1_GroundTruth" / "SYN_2000001_segmentation.png").write_text("no mask")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_mask_of_another_size, r"SYN_0000003_segmentation.png: a mask of 10x12 pixels for an image of \d+x\d+"),
        (_truncated_image, r"SYN_1000002.jpg: cannot be decoded"),
        (_text_as_mask, r"SYN_2000001_segmentation.png: not an image"),
    ],
)
def test_nothing_is_left_after_a_mistake(raw: Path, tmp_path: Path, damage, message: str) -> None:
    damage(raw)
    with pytest.raises(UserError, match=message):
        prepare(raw, tmp_path / "out", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_what_lies_at_the_place_survives_a_mistake(raw: Path, tmp_path: Path) -> None:
    before = prepare(raw, tmp_path / "out", CONFIG)
    _truncated_image(raw)
    with pytest.raises(UserError, match="SYN_1000002"):
        prepare(raw, tmp_path / "out", CONFIG)
    assert PreparedData.open(tmp_path / "out", verify=True).provenance == before.provenance
