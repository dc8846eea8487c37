from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.errors import UserError
from mbdcnn.inference.bundle import STAGES, load_model, write_bundle
from mbdcnn.manifest import hashed_id


@pytest.fixture
def runs(experiment) -> dict[str, Run]:
    return {stage: Run.open(experiment.out / "runs" / stage) for stage in STAGES}


def test_a_bundle_holds_the_best_weights_of_each_run(bundle: Bundle, runs: dict[str, Run]) -> None:
    model = load_model(Bundle.open(bundle.path, verify=True))
    assert not model.training
    for stage in STAGES:
        state, expected = getattr(model, stage).state_dict(), load_file(runs[stage].path / "best.safetensors")
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)
        assert getattr(bundle.config, stage) == getattr(runs[stage].config, stage)


def test_it_knows_who_trained_and_chose_it_without_naming_them(bundle: Bundle, data) -> None:
    for use, split in (("training", "train"), ("selection", "validation")):
        assert bundle.ids(use) == {hashed_id(row.id) for row in data.rows if row.split == split}
    text = "".join(file.read_text() for file in bundle.path.iterdir() if file.suffix in {".json", ".md", ".yaml"})
    assert not any(row.id in text for row in data.rows)


def test_the_card_says_what_it_is(bundle: Bundle) -> None:
    card = (bundle.path / "README.md").read_text()
    assert card.startswith("---\n")
    assert "Not a medical device" in card
    assert "seborrheic keratosis" in card


def test_unrelated_runs_make_no_bundle(runs: dict[str, Run], tmp_path) -> None:
    for stage in ("coarse", "classifier"):
        stranger = runs[stage].provenance.model_copy(update={"fingerprint": "0" * 64})
        with pytest.raises(UserError, match=f"not the {stage} run that .* was trained with"):
            write_bundle(runs | {stage: replace(runs[stage], provenance=stranger)}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_current_bundle_is_left_alone(bundle: Bundle, runs: dict[str, Run]) -> None:
    before = (bundle.path / "config.json").stat().st_mtime_ns
    assert write_bundle(runs, bundle.path).provenance == bundle.provenance
    assert (bundle.path / "config.json").stat().st_mtime_ns == before
    assert json.loads((bundle.path / "config.json").read_text())["kind"] == "Bundle"
