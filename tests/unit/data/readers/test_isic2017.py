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


def test_images_masks_and_labels_are_joined_by_id(root: Path) -> None:
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


def test_images_without_a_mask_and_rows_without_an_image(root: Path) -> None:
    (root / f"{TRAINING}_Part1_GroundTruth" / "SYN_0000001_segmentation.png").unlink()
    (root / f"{TRAINING}_Data" / "SYN_0000002.jpg").unlink()
    raw = read_raw(root, CLASSES)
    assert [record.mask is not None for record in raw.records[:3]] == [True, False, True]
    assert [record.label for record in raw.records[:3]] == [0, 1, 2]
    missing, unused, surplus = raw.notes
    assert missing.startswith(
        f"{TRAINING}_Part1_GroundTruth: masks of 2 of 3 images, none of SYN_0000001; they are looked"
    )
    assert "ID.png, or ID and _segmentation, _mask" in missing
    assert unused == f"{TRAINING}_Part1_GroundTruth: 1 image files not used: SYN_0000002_segmentation.png"
    assert surplus == f"{TRAINING}_Part3_GroundTruth.csv: 1 of 4 rows have no image (first: SYN_0000002)"


@pytest.mark.parametrize(
    "name", ["{}_Segmentation.png", "{}_segmentation.PNG", "{}.png", "{}_mask.BMP", "{}_segmentation.jpg", "{}-seg.tif"]
)
def test_masks_under_other_names(root: Path, name: str) -> None:
    for number in range(4):
        mask = root / f"{TRAINING}_Part1_GroundTruth" / f"SYN_000000{number}_segmentation.png"
        mask.rename(mask.with_name(name.format(f"SYN_000000{number}")))
    raw = read_raw(root, CLASSES)
    masks = [record.mask for record in raw.records if record.split == "train"]
    assert [mask.name for mask in masks if mask] == [name.format(f"SYN_000000{number}") for number in range(4)]
    assert raw.notes == []


def test_masks_of_names_that_nobody_looks_for_are_no_missing_masks(root: Path) -> None:
    folder = root / f"{TRAINING}_Part1_GroundTruth"
    for mask in folder.iterdir():
        mask.rename(folder / f"truth-of-{mask.name}")
    with pytest.raises(UserError, match=r"no mask of any of the 4 images, .* but truth-of-SYN_\S+, .*1 more"):
        read_raw(root, CLASSES)
    shutil.rmtree(folder)
    assert read_raw(root, CLASSES).notes == [f"no masks of 4 images; they are looked for in {folder}"]


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("ISIC2017_Task1_Training_GroundTruth", "rename the folder so"),
        (f"{TRAINING}_Data", "move them there"),
        (".", "move them there"),
    ],
)
def test_masks_in_another_folder_are_no_missing_masks(root: Path, place: str, remedy: str) -> None:
    folder = root / f"{TRAINING}_Part1_GroundTruth"
    (root / place).mkdir(exist_ok=True)
    for mask in folder.iterdir():
        mask.rename(root / place / mask.name)
    folder.rmdir()
    with pytest.raises(UserError, match=f"holds masks of 4 of 4 images, such as SYN_.*: {remedy}"):
        read_raw(root, CLASSES)


def test_folders_in_another_case_are_read_and_others_named(root: Path) -> None:
    (root / f"{TRAINING}_Data").rename(root / f"{TRAINING}_DATA".lower())
    (root / f"{TRAINING}_Part1_GroundTruth").rename(root / f"{TRAINING}_Part1_Groundtruth")
    (root / "ISIC-2017_Test_v2_Data").rename(root / "ISIC-2017_Test_Data")
    raw = read_raw(root, CLASSES)
    assert [(record.split, record.mask is not None) for record in raw.records] == [
        *[("train", True)] * 4,
        *[("validation", True)] * 2,
    ]
    (note,) = raw.notes
    splits = "ISIC-2017_Training_Data, ISIC-2017_Validation_Data, ISIC-2017_Test_v2_Data"
    assert note == f"folders with images that were not read: ISIC-2017_Test_Data; splits are {splits}"


def test_images_that_cannot_be_read_are_named(root: Path) -> None:
    folder = root / f"{TRAINING}_Data"
    (folder / "SYN_0000000.jpg").rename(folder / "SYN_0000000.HEIC")
    first, *_ = read_raw(root, CLASSES).notes
    assert first == f"{TRAINING}_Data: 1 files not read (SYN_0000000.HEIC); save them as JPEG or PNG"
    for file in folder.glob("*.jpg"):
        file.unlink()
    with pytest.raises(UserError, match=r"no images in it; .*SYN_0000000.HEIC there are of a kind that is not read"):
        read_raw(root, CLASSES)


@pytest.mark.parametrize(
    "text",
    [
        "image_id;melanoma;seborrheic_keratosis\nSYN_0000003;0,0;1,0\nsyn_0000000;0;0\nSYN_0000002;0;0\nSYN_0000001;1;0",
        "sep=,\nImage ID,Melanoma,Seborrheic Keratosis,,\nSYN_0000003.jpg,0,1,,\nSYN_0000000.JPG,0,0,,\n"
        "SYN_0000002.jpg,0,0,,\np/SYN_0000001.jpg,1,0,,",
        "id,image,melanoma,seborrheic_keratosis\n0,SYN_0000003,False,True\n1,SYN_0000000,FALSE,FALSE\n"
        "2,SYN_0000002,False,False\n3,SYN_0000001,true,False",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_label_files_of_other_programs(root: Path, text: str, encoding: str) -> None:
    (root / f"{TRAINING}_Part3_GroundTruth.csv").write_bytes(text.encode(encoding))
    raw = read_raw(root, CLASSES)
    assert [record.label for record in raw.records if record.split == "train"] == [0, 1, 0, 2]
    assert raw.notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0,0\n", "no row for SYN_0000001"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,1,1.0\n", "row 2: both"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0.5,0\n", "row 2: melanoma is '0.5'"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0\n", "seborrheic_keratosis is ''"),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0,0\nSYN_0000000,0,0\n", "row 3: .* is a duplicate"),
        ("image_id,melanoma\nSYN_0000000,0\n", "no column seborrheic_keratosis"),
        ("", "no column image_id"),
        (
            "image_id,melanoma,seborrheic_keratosis,Melanoma \nSYN_0000000,0,0,1\n",
            r"columns 2 \('melanoma'\) and 4 \('Melanoma'\) have the same name; remove or rename one",
        ),
        ("image_id,melanoma,seborrheic_keratosis\nSYN_0000000,0,0\nsyn_0000000.jpg,0,0\n", "row 3: .* is a duplicate"),
        (
            "image_id,melanoma,seborrheic_keratosis\n7,0,0\n",
            "image_id names 7, but the images are called SYN_",
        ),
    ],
)
def test_wrong_label_files(root: Path, text: str, message: str) -> None:
    (root / f"{TRAINING}_Part3_GroundTruth.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_raw(root, CLASSES)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    (root / f"{TRAINING}_Part3_GroundTruth.csv").rename(root / f"{TRAINING}_Part3_GroundTruth (1).csv")
    with pytest.raises(UserError, match=r"Part3_GroundTruth.csv: missing.*Part3_GroundTruth \(1\).csv.*: rename"):
        read_raw(root, CLASSES)
    for file in (root / f"{TRAINING}_Data").glob("*.jpg"):
        file.unlink()
    with pytest.raises(UserError, match="no images in it"):
        read_raw(root, CLASSES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a data set that is recognised"):
        read_raw(tmp_path / "empty", CLASSES)
    with pytest.raises(UserError, match="no such file or folder"):
        read_raw(tmp_path / "nothing", CLASSES)


def test_one_id_cannot_be_two_images(root: Path) -> None:
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
