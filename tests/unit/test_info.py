from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mbdcnn import info
from mbdcnn.artifacts import Bundle
from mbdcnn.config import load_config
from mbdcnn.errors import UserError
from mbdcnn.info import describe
from mbdcnn.system.rates import MatrixRates


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("data", "PreparedData"),
        ("runs/coarse", "Run"),
        ("masks", "MaskSet"),
        ("bundle", "Bundle"),
        ("report", "Report"),
    ],
)
def test_every_folder_says_what_it_is(experiment, folder: str, kind: str) -> None:
    facts = describe(str(experiment.out / folder))
    assert facts["kind"] == kind
    assert facts["path"] == str(experiment.out / folder)
    assert facts["tools"]["mbdcnn"]


def test_a_configuration_is_shown_in_full(config_file: Path) -> None:
    assert describe(str(config_file)) == load_config(config_file).model_dump(mode="json")


def test_a_folder_named_like_a_configuration_does_not_hide_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert describe("demo") == load_config("demo").model_dump(mode="json")


def test_anything_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder made by mbdcnn"):
        describe(str(tmp_path))
    with pytest.raises(UserError, match="no such configuration"):
        describe(str(tmp_path / "absent"))
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"for an image: mbdcnn predict \S+photo\.jpg$"):
        describe(str(tmp_path / "photo.jpg"))


def test_the_licence_of_a_bundle_is_what_its_card_names(bundle: Bundle, tmp_path: Path) -> None:
    assert "licence" not in describe(str(bundle.path))
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.path, copy)
    (copy / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nA card.")
    assert describe(str(copy))["licence"] == Bundle.open(copy).licence == "cc-by-nc-4.0"
    (copy / "README.md").unlink()
    assert Bundle.open(copy).licence is None


@pytest.mark.parametrize(
    ("rate", "said", "runtime"),
    [
        (3e11, "bf16, at least 1.5 times as fast", "openvino-bf16"),
        (2e11, "bf16, at least 1.5 times as fast", "onnx"),
        (1e11, "fp32, as bf16 is not 1.5 times as fast", "onnx"),
    ],
)
def test_it_says_how_fast_the_machine_is_and_what_auto_means_here(
    rate: float, said: str, runtime: str, monkeypatch
) -> None:
    monkeypatch.setattr(info, "matrix_rates", lambda: MatrixRates(1e11, rate))
    assert describe()["matrix products"] == {
        "fp32": "100 GFLOP/s on a core",
        "bf16": f"{rate / 1e9:.0f} GFLOP/s on a core",
        "precision auto on this CPU": said,
        "runtime auto on this CPU": f"{runtime}, where installed",
    }
