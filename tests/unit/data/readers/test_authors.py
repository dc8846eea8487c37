"""The authors' folders."""

import shutil
from pathlib import Path

import pytest

from mbdcnn.data import read_raw
from mbdcnn.data.readers import authors, isic2017
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


@pytest.fixture
def authors_root(root: Path, tmp_path: Path) -> Path:
    """The authors' folders made from the official ones, with an archive image beside the training ones."""
    data = tmp_path / "repository" / "dataset" / "data"
    for split, name in authors.SPLIT_NAMES.items():
        official = isic2017.SPLIT_NAMES[split]
        shutil.copytree(root / f"{official}_Data", data / f"{name}_Data" / "Images")
        shutil.copytree(root / f"{official}_Part1_GroundTruth", data / f"{name}_Data" / "Annotation")
        _write_authors_labels(root / f"{official}_Part3_GroundTruth.csv", data / f"{name}_Part3_GroundTruth.csv")
    shutil.copytree(root / f"{TRAINING}_Data", data / f"{authors.EXTENDED}_Data" / "Images")
    images = data / f"{authors.EXTENDED}_Data" / "Images"
    shutil.copy(images / "SYN_0000000.jpg", images / "ISIC_9999999.jpg")
    labels = data / f"{authors.EXTENDED}_Part3_GroundTruth.csv"
    _write_authors_labels(root / f"{TRAINING}_Part3_GroundTruth.csv", labels)
    labels.write_text(labels.read_text() + "ISIC_9999999,0,1,0\n")
    return tmp_path / "repository"


def _write_authors_labels(source: Path, target: Path) -> None:
    lines = ["image_id,nodiease,melanoma,seborrheic_keratosis"]
    for row in source.read_text().splitlines()[1:]:
        image_id, melanoma, keratosis = row.split(",")
        lines.append(f"{image_id},{1 - int(float(melanoma)) - int(float(keratosis))},{melanoma},{keratosis}")
    target.write_text("\n".join(lines) + "\n")


def test_the_authors_folders(authors_root: Path) -> None:
    raw = read_raw(authors_root, CLASSES)
    assert raw.kind == "the authors' folders"
    found = {record.id: (record.split, record.label, record.mask is not None) for record in raw.records}
    assert len(raw.records) == len(found) == 8
    assert found["SYN_0000003"] == ("train", 2, True)
    assert found["SYN_2000000"] == ("test", 0, True)
    assert found["ISIC_9999999"] == ("train", 1, False)


def test_the_authors_training_labels_may_lie_in_the_extended_file_alone(authors_root: Path) -> None:
    data = authors_root / "dataset" / "data"
    before = read_raw(authors_root, CLASSES).records
    (data / f"{TRAINING}_Part3_GroundTruth.csv").unlink()
    assert [record.label for record in read_raw(data, CLASSES).records] == [record.label for record in before]


def test_the_authors_two_label_files_must_agree(authors_root: Path) -> None:
    file = authors_root / "dataset" / "data" / f"{authors.EXTENDED}_Part3_GroundTruth.csv"
    file.write_text(file.read_text().replace("SYN_0000000,1,0.0,0.0", "SYN_0000000,0,1,0"))
    with pytest.raises(UserError, match="SYN_0000000 has another label"):
        read_raw(authors_root, CLASSES)
