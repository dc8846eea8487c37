"""The recipe of the shipped model: its settings can be read, and labels are mixed with what teachers see."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mbdcnn.config import ClassificationNetwork, load_config
from mbdcnn.errors import UserError
from mbdcnn.models import MaskGuidedClassifier
from mbdcnn.models.backbones import CLASSIFICATION, check_backbones
from mbdcnn.models.weights import load_weights

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
COLUMNS = ("id", "image", "label", "split")
ROWS = (
    ("a", "a.jpg", "melanoma", "train"),
    ("b", "b.jpg", "nevus:0.4|seborrheic_keratosis:0.6", "train"),
    ("c", "c.jpg", "", "train"),
    ("d", "d.jpg", "nevus", "validation"),
)


@pytest.fixture(scope="module")
def soft_labels() -> Iterator[ModuleType]:
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        yield importlib.import_module("soft_labels")
    finally:
        sys.path.remove(str(EXPERIMENTS))
        for name in ("soft_labels", "densenet"):
            del sys.modules[name]
        del CLASSIFICATION["densenet169"]


@pytest.mark.parametrize("recipe", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_of_known_settings_and_networks(soft_labels: ModuleType, recipe: Path) -> None:
    check_backbones(load_config(recipe))


def predictions(file: Path, of: dict[str, tuple[float, float, float]], classes: tuple[str, ...]) -> Path:
    with file.open("wb") as stream:
        np.savez(stream, ids=list(of), probabilities=np.array(list(of.values()), np.float32), classes=list(classes))
    return file


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *ROWS])
    return tmp_path / "table.csv"


def test_labels_take_half_of_the_mean_of_their_teachers(soft_labels: ModuleType, table: Path, tmp_path: Path) -> None:
    first, second = {"a": (0.8, 0.2, 0.0), "b": (0.2, 0.0, 0.8)}, {"a": (0.4, 0.6, 0.0), "b": (0.2, 0.0, 0.8)}
    files = [
        predictions(tmp_path / f"{number}.npz", of, soft_labels.CLASSES) for number, of in enumerate((first, second))
    ]
    soft = tmp_path / "soft.csv"
    soft_labels.write(SimpleNamespace(table=table, soft=soft, predictions=files))
    with soft.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["label"] for line in lines] == [
        "nevus:0.30000|melanoma:0.70000",
        "nevus:0.30000|seborrheic_keratosis:0.70000",
        "",
        "nevus",
    ]
    assert [[line[name] for name in ("id", "image", "split")] for line in lines] == [[*row[:2], row[3]] for row in ROWS]


def test_a_label_keeps_its_class_whatever_teachers_say(soft_labels: ModuleType) -> None:
    # By it images are drawn and divided into folds: pupils' folds would not be their teachers'.
    certain = np.array([1.0, 0.0, 0.0], np.float32)
    assert soft_labels.mixed("melanoma", certain * 0.999 + 0.0005) == (
        "nevus:0.49975|melanoma:0.50025|seborrheic_keratosis:0.00025"
    )
    own = soft_labels.class_shares(
        soft_labels.mixed("nevus:0.4|seborrheic_keratosis:0.6", certain), soft_labels.CLASSES, ""
    )
    assert own[2] > own[0] > 0.4


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"a": (1, 0, 0)}, "b, one of 1 such images, is only there or only among"),
        (dict.fromkeys("abd", (1, 0, 0)), "d, one of 1 such images, is only there"),
    ],
)
def test_predictions_of_other_images_are_refused(
    soft_labels: ModuleType, table: Path, tmp_path: Path, found: dict[str, tuple[float, float, float]], told: str
) -> None:
    file = predictions(tmp_path / "found.npz", found, soft_labels.CLASSES)
    with pytest.raises(UserError, match=told):
        soft_labels.write(SimpleNamespace(table=table, soft=tmp_path / "soft.csv", predictions=[file]))
    assert not (tmp_path / "soft.csv").exists()


def test_predictions_of_other_classes_and_tables_elsewhere_are_refused(
    soft_labels: ModuleType, table: Path, tmp_path: Path
) -> None:
    file = predictions(tmp_path / "found.npz", {"a": (1, 0, 0), "b": (1, 0, 0)}, ("nevus", "other", "melanoma"))
    with pytest.raises(UserError, match="of the classes nevus, other, melanoma; expected nevus, melanoma"):
        soft_labels.write(SimpleNamespace(table=table, soft=tmp_path / "soft.csv", predictions=[file]))
    with pytest.raises(UserError, match="must lie beside"):
        soft_labels.write(SimpleNamespace(table=table, soft=tmp_path / "sub" / "soft.csv", predictions=[file]))


def test_public_weights_of_a_densenet_start_mask_cn(soft_labels: ModuleType, tmp_path: Path) -> None:
    densenet = sys.modules["densenet"]
    given = {
        name: torch.randn(tensor.shape).half() if tensor.is_floating_point() else tensor
        for name, tensor in densenet.DenseNet(1.0, 8).state_dict().items()
    }
    stem = given[densenet.STEM_WEIGHT] = given[densenet.STEM_WEIGHT][:, :3].contiguous()
    save_file(given, tmp_path / "public.safetensors")
    densenet.convert(tmp_path / "public.safetensors", tmp_path / "start.safetensors")
    network = MaskGuidedClassifier(ClassificationNetwork(backbone="densenet169"), 3)
    load_weights(tmp_path / "start.safetensors", network)
    weight = network.encoder.features.conv0.weight
    torch.testing.assert_close(weight[:, :3], stem.float())
    torch.testing.assert_close(weight[:, 3], stem.float().mean(1))
    del given["features.norm5.weight"]
    save_file(given, tmp_path / "public.safetensors")
    with pytest.raises(UserError, match="no DenseNet-169 with torchvision's names"):
        densenet.convert(tmp_path / "public.safetensors", tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()
