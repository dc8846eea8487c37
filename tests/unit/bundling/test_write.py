from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.artifacts.manifest import hashed_id
from mbdcnn.artifacts.seen import NOTHING, Seen
from mbdcnn.bundling.write import _made_from, write_bundle
from mbdcnn.config import Calibration, load_config
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import STAGES, load_model
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.probabilities import averaged_softmax
from mbdcnn.inference.protocol import inputs_of_row, run_protocol
from mbdcnn.models import build_classifier
from mbdcnn.models.weights import copy_weights, import_weights, load_weights

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(experiment) -> dict[str, Run]:
    return {stage: Run.open(experiment.out / "runs" / stage) for stage in STAGES}


@pytest.fixture
def made_from(experiment, runs: dict[str, Run], data) -> dict[str, Any]:
    """All that the experiment's bundle was made from."""
    names = (f"fold{number}" for number in range(2))
    folds = [tuple(Run.open(experiment.out / "runs" / f"{stage}-{name}") for stage in STAGES[:2]) for name in names]
    return {"runs": runs, "data": data, "folds": folds, "device": "cpu"}


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(bundle.path, tmp_path / "copy")
    return Bundle.open(tmp_path / "copy")


def test_a_bundle_holds_the_best_weights_of_each_run(bundle: Bundle, runs: dict[str, Run]) -> None:
    model = load_model(Bundle.open(bundle.path, verify=True))
    assert not model.training
    for stage in STAGES:
        state, expected = getattr(model, stage).state_dict(), load_file(runs[stage].path / "best.safetensors")
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)
        assert bundle.weights(stage).stat().st_size == (runs[stage].path / "best.safetensors").stat().st_size
        assert getattr(bundle.config, stage) == getattr(runs[stage].config, stage)


def test_it_knows_who_trained_and_chose_it_without_naming_them(bundle: Bundle, data) -> None:
    for use, split in (("training", "train"), ("selection", "validation"), ("calibration", "train")):
        assert bundle.seen(use).ids == {hashed_id(row.id) for row in data.rows if row.split == split}
    text = "".join(file.read_text() for file in bundle.path.iterdir() if file.suffix in {".json", ".md", ".yaml"})
    assert not any(row.id in text for row in data.rows)


def test_unrelated_runs_make_no_bundle(runs: dict[str, Run], tmp_path) -> None:
    for stage in ("coarse", "classifier"):
        foreign = runs[stage].provenance.model_copy(update={"fingerprint": "0" * 64})
        with pytest.raises(UserError, match=f"not the {stage} run that .* was trained with"):
            write_bundle(runs | {stage: replace(runs[stage], provenance=foreign)}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_current_bundle_is_left_alone(copy: Bundle, made_from: dict[str, Any]) -> None:
    before = (copy.path / "config.json").stat().st_mtime_ns
    assert write_bundle(out=copy.path, **made_from).provenance == copy.provenance
    assert (copy.path / "config.json").stat().st_mtime_ns == before
    assert json.loads((copy.path / "config.json").read_text())["kind"] == "Bundle"


@pytest.mark.parametrize(
    "changed",
    [
        {"half": True},
        {"folds": ()},
        {"data": None, "folds": ()},
        {"calibration": Calibration(sensitivities=(0.7,))},
        {"ensemble": 2},
    ],
    ids=["half", "folds", "data", "calibration", "ensemble"],
)
def test_a_bundle_of_something_else_is_not_current(bundle: Bundle, made_from: dict[str, Any], changed) -> None:
    def identity(half: bool = False, calibration: Calibration | None = None, ensemble: int = 1, **parts: Any) -> str:
        changes = {"calibration": calibration or bundle.config.calibration, "ensemble": ensemble}
        config = bundle.config.model_copy(update=changes)
        return Bundle.identity_of(*_made_from(parts["runs"], config, parts["data"], parts["folds"], half))

    assert identity(**made_from) == bundle.provenance.identity
    assert identity(**(made_from | changed)) != bundle.provenance.identity


def test_the_image_that_sets_a_threshold_is_decided_by_it(bundle, data) -> None:
    """To the last digit: evaluation, calibration and prediction divide and round alike."""
    predictor = Predictor.load(bundle.path, device="cpu")
    settings, rows = bundle.config.data, data.split("test")
    inputs = [inputs_of_row(data, row, settings) for row in rows]
    outcomes = list(run_protocol(predictor.core, inputs, "fast"))
    temperature = bundle.calibration("fast").temperature
    expected = [averaged_softmax(each.view_logits[None], temperature)[0] for each in outcomes]
    for prediction, probabilities in zip(predictor.predict_inputs(inputs, "fast"), expected, strict=True):
        assert list(prediction.probabilities.values()) == probabilities.tolist()


def test_without_data_nothing_is_calibrated(made_from: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(made_from["runs"], tmp_path / "bundle")
    assert bundle.calibration("fast") is None
    assert bundle.seen("calibration").ids == set()
    prediction = Predictor.load(bundle.path, device="cpu").predict(np.full((40, 40, 3), 90, np.uint8))
    assert (prediction.decisions, prediction.ood_score, prediction.looks_like_dermoscopy) == ({}, None, None)
    assert "not calibrated" in (bundle.path / "README.md").read_text()


def test_half_precision_halves_the_file_and_hardly_moves_the_result(made_from, bundle: Bundle, tmp_path: Path) -> None:
    half = write_bundle(made_from["runs"], tmp_path / "half", half=True)
    full = write_bundle(made_from["runs"], tmp_path / "full")
    for stage in STAGES:
        stored = load_file(half.weights(stage))
        assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
        assert not any(tensor.dtype == torch.float16 for tensor in stored.values() if tensor.ndim <= 1)
        assert half.weights(stage).stat().st_size < 0.85 * full.weights(stage).stat().st_size
        assert {tensor.dtype for tensor in getattr(load_model(half), stage).parameters()} == {torch.float32}
    image = np.random.default_rng(0).integers(0, 256, (44, 60, 3), np.uint8)
    first, second = (Predictor.load(each.path, device="cpu").predict(image) for each in (half, full))
    assert np.abs(first.mask_probability - second.mask_probability).max() < 0.02
    assert list(first.probabilities.values()) == pytest.approx(list(second.probabilities.values()), abs=0.01)


@pytest.mark.parametrize("half", [False, True])
def test_an_ensemble_is_the_mean_of_the_networks_of_folds(made_from, tmp_path: Path, half: bool) -> None:
    members = [run for _, run in made_from["folds"]]
    bundle = write_bundle(out=tmp_path / "bundle", **made_from, ensemble=2, half=half)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = (images[:, :1] > 0.5).float()
    logits, maps = [], []
    for run in members:
        network = build_classifier(run.config).eval()
        load_weights(run.weights, network)
        with torch.inference_mode():
            outcome = network(images, masks)
        logits.append(outcome.logits)
        maps.append(torch.einsum("bchw,kc->bkhw", outcome.features, network.head.weight))
    ensemble = load_model(Bundle.open(bundle.path, verify=True)).classifier
    with torch.inference_mode():
        outcome = ensemble(images, masks)
    tolerance = 3e-2 if half else 1e-5
    torch.testing.assert_close(outcome.logits, sum(logits) / 2, atol=tolerance, rtol=tolerance)
    joined = torch.einsum("bchw,kc->bkhw", outcome.features, ensemble.head.weight)
    torch.testing.assert_close(joined, sum(maps) / 2, atol=tolerance, rtol=tolerance)
    card = (bundle.path / "README.md").read_text()
    assert "| classifier, 1 of 2 averaged | mobilenet_v2, width 0.1 |" in card
    assert "by a coarse-SN and the one mask-CN of the model that was trained" in card
    assert Predictor.load(bundle.path, device="cpu").predict(np.full((40, 40, 3), 90, np.uint8)).probabilities


def test_training_goes_on_from_the_first_of_an_ensemble(made_from, data, tmp_path: Path, tiny_config) -> None:
    bundle = write_bundle(out=tmp_path / "bundle", **made_from, ensemble=2)
    first = made_from["folds"][0][1]
    network = build_classifier(tiny_config())
    report = import_weights(bundle.weights("classifier"), network)
    assert report.initial == ()
    assert all(".members.1." in name for name in report.dropped)
    expected = load_file(first.weights)
    for name, tensor in network.state_dict().items():
        if name != "head.bias":
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("size", [-1, 0, 3])
def test_an_ensemble_of_more_or_fewer_than_there_are_is_refused(made_from, tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match=rf"an ensemble of {size}, but 2 fold\(s\) of mask-CN"):
        write_bundle(out=tmp_path / "bundle", **made_from, ensemble=size)
    with pytest.raises(UserError, match=r"ensemble: 4 of the networks of 2 calibration.folds; add folds"):
        load_config(None, ["ensemble=4", "calibration.folds=2"])


def test_a_configured_ensemble_is_one_network_where_no_others_are_given(made_from, tmp_path: Path) -> None:
    for run in made_from["runs"].values():
        run.__dict__["config"] = run.config.model_copy(update={"ensemble": 2})
    assert write_bundle(out=tmp_path / "alone", **(made_from | {"folds": ()})).config.ensemble == 1
    assert write_bundle(out=tmp_path / "folds", **made_from).config.ensemble == 2


def test_the_images_of_all_members_are_known(made_from, tmp_path: Path, monkeypatch) -> None:
    member = made_from["folds"][1][1]
    own = type(member).seen

    def seen(run, use: str) -> Seen:
        return own(run, use) | (Seen(frozenset({"elsewhere"})) if run.path == member.path else NOTHING)

    monkeypatch.setattr(type(member), "seen", seen)
    for size, known in ((2, True), (1, False)):
        bundle = write_bundle(out=tmp_path / str(size), **made_from, ensemble=size)
        assert ("elsewhere" in json.loads((bundle.path / "ids.json").read_text())["training"]) is known


def test_a_weight_beyond_half_precision_is_told(tmp_path: Path) -> None:
    save_file({"head.weight": torch.full((2, 2), 1e6)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"head\.weight does not fit half precision"):
        copy_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors", half=True)


def test_the_bundled_model_is_loaded_or_its_absence_told(bundle: Bundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mbdcnn.artifacts.builtin.resources.files", lambda package: tmp_path)
    with pytest.raises(UserError, match="no model comes with this installation of mbdcnn; name a bundle"):
        Predictor.load()
    (tmp_path / "bundled").symlink_to(bundle.path)
    assert Predictor.load(device="cpu").bundle.provenance == bundle.provenance
