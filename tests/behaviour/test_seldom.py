"""What users of bundles and results seldom meet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pytest
import torch

from dicom_files import lesion, photograph
from mbdcnn.artifacts import Bundle
from mbdcnn.bundling.card import UNMEASURED, model_card, with_results
from mbdcnn.config import Config
from mbdcnn.errors import UserError
from mbdcnn.inference import graphs, runtimes
from mbdcnn.inference.dicom_results import origin_of, write_results
from mbdcnn.inference.networks import load_model
from mbdcnn.inference.predictor import Predictor
from mbdcnn.models import backbones
from mbdcnn.models.mobilenet import MobileNetV2

STAGES = {stage: {"imported": "a.pth", "file": "a.pth"} for stage in ("coarse", "classifier", "enhanced")}
POINT = {
    "name": "melanoma at 80% sensitivity",
    "class_name": "melanoma",
    "target": 0.8,
    "threshold": 0.25,
    "threshold_interval": [0.125, 0.5],
    "sensitivity": [0.8, 0.7, 0.9],
    "specificity": [0.6, 0.5, 0.7],
}


def test_a_card_tells_of_calibration_what_there_is() -> None:
    calibration = {"temperature": 1.5, "images": 8, "source": "images", "operating_points": [POINT]}
    without = calibration | {"operating_points": [], "note": "no operating points: no melanoma among them"}
    card = model_card(Config(), STAGES | {"calibration": {"fast": calibration, "paper": without}})
    assert "imported: a.pth" in card
    fast, _, paper = card.partition("Protocol `fast`: ")[2].partition("Protocol `paper`: ")
    assert fast == (
        "temperature 1.50, fitted to 8 images.\n\n"
        "| operating point | threshold | sensitivity | specificity |\n|---|---|---|---|\n"
        "| melanoma at 80% sensitivity | 0.250 (0.125 to 0.500) | 0.800 (0.700 to 0.900) | 0.600 (0.500 to 0.700) |\n\n"
    )
    assert paper.startswith(
        "temperature 1.50, fitted to 8 images. There are no operating points: no melanoma among them.\n"
    )
    assert "threshold" not in paper.partition("##")[0]


def test_results_stand_in_a_card_as_far_as_they_were_measured() -> None:
    masks = {"jaccard": {"value": 0.75, "low": 0.5, "high": 1.0}, "dice": {"value": 0.8, "low": None, "high": None}}
    classes = {"mean_auc": None, "classes": {"seborrheic_keratosis": {"auc": None}}}
    card = with_results(f"a\n{UNMEASURED}\nb", "such", {"segmentation": {"enhanced": masks}, "classification": classes})
    assert card.splitlines() == [
        "a",
        "On such, with 95 % intervals:",
        "",
        "| score | |",
        "|---|---|",
        "| enhanced-SN, jaccard | 0.750 (0.500 to 1.000) |",
        "| enhanced-SN, dice | 0.800 |",
        "| mean AUC | not applicable |",
        "| AUC, seborrheic keratosis | not applicable |",
        "b",
    ]
    rows = with_results(UNMEASURED, "such", {"segmentation": None, "classification": None}).splitlines()[4:]
    assert rows == []


@torch.no_grad()
def test_a_backbone_that_computes_while_it_is_built(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []

    class Computing(MobileNetV2):
        def __init__(self, width: float, depth: int) -> None:
            super().__init__(width, depth)
            devices.append(torch.ones(2).sum().device.type)
            assert float(torch.ones(2).sum()) == 2

    plain, images = load_model(bundle), torch.rand(1, 3, 32, 32)
    monkeypatch.setitem(backbones.SEGMENTATION, "mobilenet_v2", Computing)
    model = load_model(bundle)
    assert devices == ["meta", "cpu", "cpu"]
    torch.testing.assert_close(tuple(model(images)), tuple(plain(images)), rtol=0, atol=0)


def test_a_report_of_a_model_that_knows_no_strangers(bundle: Bundle, tmp_path: Path) -> None:
    predictor = Predictor.load(bundle.path, device="cpu")
    file = tmp_path / "a.dcm"
    file.write_bytes(photograph(lesion(64, 48)))
    write_results(replace(predictor.predict(file), ood_score=None), origin_of(file, bundle), tmp_path, "a")
    (group,) = hd.sr.srread(tmp_path / "a_report.dcm").content.get_planar_roi_measurement_groups()
    measured = {item.name.meaning for item in group.get_measurements()}
    assert "Area of lesion as fraction of image" in measured
    assert "Out-of-distribution score of image" not in measured


def test_what_a_runtime_says_itself_is_told_as_it_is(bundle: Bundle, tmp_path: Path, monkeypatch) -> None:
    def refuse(folder: Path, *, bf16: bool) -> None:
        raise UserError("this CPU does not")

    monkeypatch.setattr(runtimes, "find_spec", lambda name: name)
    monkeypatch.setattr(runtimes, "cached_graphs", lambda bundle: tmp_path)
    monkeypatch.setattr(runtimes, "OpenVinoCore", refuse)
    with pytest.raises(UserError, match=r"^this CPU does not$"):
        runtimes.load_core(bundle, "openvino-bf16", "cpu")


def test_a_graph_that_cannot_be_put_in_its_place_is_no_graph(bundle: Bundle, tmp_path: Path, monkeypatch) -> None:
    def full(draft: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setenv("MBDCNN_CACHE", str(tmp_path))
    monkeypatch.setattr("mbdcnn.inference.tracing.write_graphs", lambda bundle, draft: None)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(PermissionError):
        graphs.cached_graphs(bundle)
    assert not list((tmp_path / "graphs").iterdir())
