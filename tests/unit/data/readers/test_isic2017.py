from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mbdcnn.data import read_raw
from mbdcnn.data.readers import isic2017
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError

CLASSES = ("nevus", "melanoma", "seborrheic_keratosis")
TRAINING = "ISIC-2017_Training"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isic")
    generate(folder, {"train": 4, "validation": 2, "test": 1}, (48, 36))
    return folder


@pytest.fixture
def root(generated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(generated, tmp_path / "raw"))


def test_pictures_masks_and_labels_are_joined_by_id(root: Path) -> None:
    raw = read_raw(root, CLASSES)
    assert raw.kind == "ISIC-2017"
    assert [(record.id, record.split, record.label) for record in raw.records] == [
        ("SYN_0000000", "train", 0),
        ("SYN_0000001", "train", 1),
        ("SYN_0000002", "train", 0),
        ("SYN_0000003", "train", 2),
        ("SYN_1000000", "validation", 0),
        ("SYN_1000001", "validation", 1),
        ("SYN_2000000", "test", 0),
    ]
    for record in raw.records:
        assert record.image.stem == record.id
        assert record.mask is not None
        assert record.mask.name == f"{record.id}_segmentation.png"
    assert raw.notes == []


def test_labels_do_not_depend_on_the_order_of_rows(root: Path) -> None:
    before = {record.id: record.label for record in read_raw(root, CLASSES).records}
    file = root / f"{TRAINING}_Part3_GroundTruth.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\r\n".join([header, *reversed(rows)]))
    assert {record.id: record.label for record in read_raw(root, CLASSES).records} == before


def test_labels_follow_the_configured_order_of_classes(root: Path) -> None:
    raw = read_raw(root, ("benign", "seborrheic keratosis", "Melanoma"))
    assert [record.label for record in raw.records if record.split == "train"] == [0, 2, 0, 1]
    with pytest.raises(UserError, match="'seborrheic_keratosis' is not one of the configured classes"):
        read_raw(root, ("benign", "melanoma"))


def test_a_column_nodiease_is_accepted(root: Path) -> None:
    file = root / f"{TRAINING}_Part3_GroundTruth.csv"
    rows = ["SYN_0000000,1,0,0", "SYN_0000001,0,1,0", "SYN_0000002,1,0,0", "SYN_0000003,0,0,1"]
    file.write_text("\ufeffimage_id,nodiease,melanoma,seborrheic_keratosis\n" + "\n".join(rows))
    assert [record.label for record in read_raw(root, CLASSES).records][:4] == [0, 1, 0, 2]
    file.write_text(file.read_text().replace("SYN_0000001,0,1,0", "SYN_0000001,1,1,0"))
    with pytest.raises(UserError, match="row 3: nodiease contradicts"):
        read_raw(root, CLASSES)


@pytest.mark.parametrize("missing", ["validation", "train"])
def test_splits_may_be_absent(root: Path, missing: str) -> None:
    shutil.rmtree(root / f"{isic2017.SPLIT_NAMES[missing]}_Data")
    assert missing not in {record.split for record in read_raw(root, CLASSES).records}


def test_the_data_may_lie_one_folder_down_or_be_unpacked_into_a_folder_of_its_own(root: Path, tmp_path: Path) -> None:
    shutil.move(root / f"{TRAINING}_Data", root / "moved")
    shutil.move(root / "moved", root / f"{TRAINING}_Data" / f"{TRAINING}_Data")
    assert len(read_raw(tmp_path, CLASSES).records) == 7


def test_pictures_without_a_mask_and_rows_without_a_picture(root: Path) -> None:
    (root / f"{TRAINING}_Part1_GroundTruth" / "SYN_0000001_segmentation.png").unlink()
    (root / f"{TRAINING}_Data" / "SYN_0000002.jpg").unlink()
    raw = read_raw(root, CLASSES)
    assert [record.mask is not None for record in raw.records[:3]] == [True, False, True]
    assert [record.label for record in raw.records[:3]] == [0, 1, 2]
    expected = "ISIC-2017_Training_Part3_GroundTruth.csv: 1 of 4 rows have no picture (first: SYN_0000002)"
    assert raw.notes == [expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0,0\n", "no row for SYN_0000001"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,1,1.0\n", "row 2: both"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0.5,0\n", "row 2: melanoma is '0.5'"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0\n", "seborrheic_keratosis is None"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0,0\nSYN_0000000,0,0\n", "row 3: .* stands twice"),
        ("image_id,melanoma\nSYN_0000000,0\n", "no column seborrheic_keratosis"),
        ("", "no column image_id"),
    ],
)
def test_wrong_label_files(root: Path, text: str, message: str) -> None:
    (root / f"{TRAINING}_Part3_GroundTruth.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_raw(root, CLASSES)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    (root / f"{TRAINING}_Part3_GroundTruth.csv").unlink()
    with pytest.raises(UserError, match=r"Training_Part3_GroundTruth.csv: missing"):
        read_raw(root, CLASSES)
    for file in (root / f"{TRAINING}_Data").glob("*.jpg"):
        file.unlink()
    with pytest.raises(UserError, match="no pictures in it"):
        read_raw(root, CLASSES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a data set that is recognised"):
        read_raw(tmp_path / "empty", CLASSES)
    with pytest.raises(UserError, match="no such file or folder"):
        read_raw(tmp_path / "nothing", CLASSES)


def test_one_id_cannot_be_two_pictures(root: Path) -> None:
    source = root / f"{TRAINING}_Data" / "SYN_0000000.jpg"
    shutil.copy(source, source.with_suffix(".png"))
    with pytest.raises(UserError, match=r"SYN_0000000.jpg in the same folder"):
        read_raw(root, CLASSES)
    source.with_suffix(".png").unlink()
    shutil.copy(source, root / "ISIC-2017_Test_v2_Data" / "SYN_0000000.jpg")
    with (root / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").open("a") as stream:
        stream.write("SYN_0000000,0,0\n")
    with pytest.raises(UserError, match="SYN_0000000 in train and test"):
        read_raw(root, CLASSES)
