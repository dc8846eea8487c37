"""Rows of a classifier's last layer go to the classes of their names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mbdcnn.artifacts import Run
from mbdcnn.config import ClassificationNetwork, Config, save_config
from mbdcnn.errors import UserError
from mbdcnn.models import MaskGuidedClassifier
from mbdcnn.models.checkpoints import METHOD_CLASSES, import_state_dict
from mbdcnn.models.head import class_metadata, named_classes
from mbdcnn.models.weights import copy_weights, import_weights, read_state_dict, save_weights, write_ensemble

NETWORK = ClassificationNetwork(backbone="mobilenet_v2", width=0.1, depth=1)
GIVEN = ("nevus", "melanoma", "seborrheic_keratosis")
ORDERS = [
    GIVEN,
    ("nevus", "seborrheic_keratosis", "melanoma"),
    ("melanoma", "nevus"),
    ("nevus", "melanoma", "basal_cell_carcinoma"),
    ("benign", "vascular", "Seborrheic Keratosis", "Melanoma", "nevus"),
    ("benign", "malignant", "vascular"),
    ("benign", "malignant"),
]


def network(classes: int, fill: float | None = None) -> MaskGuidedClassifier:
    """Build one whose rows of the last layer are `fill`, `fill` + 1, ..., if that is given."""
    torch.manual_seed(0)
    built = MaskGuidedClassifier(NETWORK, classes)
    if fill is not None:
        for tensor in (built.head.weight.data, built.head.bias.data):
            tensor.copy_((torch.arange(classes) + fill).reshape(-1, *[1] * (tensor.ndim - 1)).expand(tensor.shape))
    return built


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_weights(tmp_path / "given.safetensors", network(3, 10.0), class_metadata("classifier", GIVEN))
    return tmp_path / "given.safetensors"


def ensemble_of(file: Path) -> Path:
    write_ensemble([file, file], file.with_name("ensemble.safetensors"))
    return file.with_name("ensemble.safetensors")


def halves_of(file: Path) -> Path:
    copy_weights(file, file.with_name("half.safetensors"), half=True)
    return file.with_name("half.safetensors")


@pytest.mark.parametrize("kind", [lambda file: file, ensemble_of, halves_of], ids=["one", "ensemble", "half"])
@pytest.mark.parametrize("classes", ORDERS, ids=lambda classes: "-".join(name[:3] for name in classes))
def test_every_row_goes_to_the_class_of_its_name(file: Path, kind, classes: tuple[str, ...]) -> None:
    filled, fresh = network(len(classes)), network(len(classes))
    report = import_weights(kind(file), filled, classes)
    assert report.head is not None
    for row, name in enumerate(classes):
        plain = name.casefold().replace(" ", "_")
        expected = 10.0 + GIVEN.index(plain) if plain in GIVEN else None
        for own, initial in ((filled.head.weight, fresh.head.weight), (filled.head.bias, fresh.head.bias)):
            wanted = initial[row] if expected is None else torch.full_like(initial[row], expected)
            torch.testing.assert_close(own[row], wanted)
        assert report.head.rows[name] == (plain if plain in GIVEN else None)
        afresh = {"head.weight", f"head.weight of {name}"} & {*report.initial}
        assert bool(afresh) is (plain not in GIVEN)
    assert set(report.head.unused) == set(GIVEN) - set(report.head.rows.values())
    assert report.head.whole is (set(report.head.rows.values()) == set(GIVEN) and len(classes) == 3)
    assert report.head.summary() in report.summary()
    assert "\n" not in report.summary()


def test_the_report_says_which_rows_went_where(file: Path) -> None:
    report = import_weights(file, network(3), ("nevus", "Melanoma", "vascular"))
    assert report.summary().endswith(
        "; rows of the last layer by the names in given.safetensors: nevus, Melanoma from melanoma; "
        "as initialised: vascular; left out: seborrheic_keratosis"
    )


@pytest.mark.parametrize(
    ("classes", "given"), [(GIVEN, METHOD_CLASSES), (("melanoma", "nevus", "other"), METHOD_CLASSES)]
)
def test_the_authors_files_are_in_the_order_of_their_code(classes: tuple[str, ...], given: tuple[str, ...]) -> None:
    xception = MaskGuidedClassifier(ClassificationNetwork(width=0.05), len(classes))
    width = xception.head.weight.shape[1]
    state = {
        "block11.rep.1.conv1.weight": xception.encoder.middle[7].convs[0].depthwise.weight,
        "cls.weight": torch.arange(3.0)[:, None].expand(3, width),
        "cls.bias": torch.arange(3.0),
    }
    report = import_state_dict(xception, {name: tensor.detach().clone() for name, tensor in state.items()}, classes)
    assert report.source == "authors' mask-CN"
    assert report.head is not None
    assert report.head.where == "the order of the MB-DCNN authors' code"
    for row, name in enumerate(classes):
        if name in given:
            assert xception.head.bias[row] == given.index(name)
            assert (xception.head.weight[row] == given.index(name)).all()


def test_where_nobody_names_the_classes_it_is_said_that_places_count(tmp_path: Path) -> None:
    save_weights(tmp_path / "x.safetensors", network(3, 10.0))
    filled = network(3)
    report = import_weights(tmp_path / "x.safetensors", filled, ("a", "b", "c"))
    assert report.head is not None
    assert not report.head.whole
    assert report.head.summary() == (
        "rows of the last layer by their places, for nobody names the classes of this file: "
        "a from row 1, b from row 2, c from row 3"
    )
    assert filled.head.bias.tolist() == [10.0, 11.0, 12.0]
    report = import_weights(tmp_path / "x.safetensors", network(2), ("a", "b"))
    assert report.head is not None
    assert report.head.rows == {"a": None, "b": None}
    assert {"head.weight", "head.bias"} <= {*report.initial}


def write_run(folder: Path, classes: tuple[str, ...]) -> Path:
    with Run.writing(folder, {"stage": "classifier"}, {}) as draft:
        save_weights(draft.path / "best.safetensors", network(3, 10.0))
        save_config(Config(classes=classes, data={"views": {"rare_classes": []}}), draft.path / "config.yaml")
    return folder / "best.safetensors"


def test_a_file_without_names_has_those_of_the_run_it_lies_in(tmp_path: Path) -> None:
    file = write_run(tmp_path / "run", ("b", "a", "c"))
    named = named_classes(file)
    assert named is not None
    assert (named.classes, named.where) == (("b", "a", "c"), f"the names in {tmp_path / 'run'}")
    filled = network(3)
    import_weights(file, filled, ("a", "b", "c"))
    assert filled.head.bias.tolist() == [11.0, 10.0, 12.0]


def test_a_file_that_was_put_into_a_run_has_no_names(tmp_path: Path) -> None:
    file = write_run(tmp_path / "run", ("b", "a", "c"))
    shutil.copy(file, tmp_path / "run" / "other.safetensors")
    assert named_classes(tmp_path / "run" / "other.safetensors") is None
    save_weights(file, network(3, 5.0))
    assert named_classes(file) is None
    shutil.copy(file, tmp_path / "alone.safetensors")
    assert named_classes(tmp_path / "alone.safetensors") is None


@pytest.mark.parametrize("text", ["", "null", "[]", "[1, 2, 3]", '"nevus"', "[" * 100_000])
def test_names_that_are_none_are_not_taken_for_any(tmp_path: Path, text: str) -> None:
    save_file(dict(network(3).state_dict()), tmp_path / "x.safetensors", metadata={"classes": text})
    assert named_classes(tmp_path / "x.safetensors") is None


def test_more_names_than_rows_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "x.safetensors", network(3), {"classes": json.dumps(["a", "b"])})
    filled = network(3)
    before = {name: tensor.clone() for name, tensor in filled.state_dict().items()}
    with pytest.raises(UserError, match=r"x\.safetensors: 3 rows in the last layer, but 2 classes"):
        import_weights(tmp_path / "x.safetensors", filled, ("a", "b", "c"))
    torch.testing.assert_close(dict(filled.state_dict()), before, rtol=0, atol=0)


def test_names_stay_with_the_weights(file: Path) -> None:
    for made in (ensemble_of(file), halves_of(file)):
        named = named_classes(made)
        assert named is not None
        assert named.classes == GIVEN
    assert "head.weight" in read_state_dict(file)
    assert class_metadata("coarse", GIVEN) == {}
