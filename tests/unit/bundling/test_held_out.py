"""Calibration rests on networks that did not learn from the images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.bundling.calibrate import fit_temperature
from mbdcnn.bundling.held_out import check_fold_runs, left_out_by_folds
from mbdcnn.bundling.write import write_bundle
from mbdcnn.data.folds import Fold
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import STAGES
from mbdcnn.inference.protocol import inputs_of_row, run_protocol
from mbdcnn.inference.runtimes import TorchCore
from mbdcnn.models import MBDCNN
from mbdcnn.models.weights import load_weights
from mbdcnn.training.fit import train

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


def test_folds_of_other_networks_are_refused(made_from: dict[str, Any], data, tiny_config) -> None:
    config = tiny_config("classifier.network.width=0.2")
    with pytest.raises(UserError, match="classifier-fold0: another classifier network than that of the model"):
        check_fold_runs(made_from["folds"], data, config)


def test_calibration_is_of_training_images_by_networks_that_left_them_out(
    bundle: Bundle, made_from: dict[str, Any], data
) -> None:
    """The logits are those of a plain loop over images, each by the networks of its fold alone."""
    for protocol in ("fast", "paper"):
        logits, labels = [], []
        for number, (coarse, classifier) in enumerate(made_from["folds"]):
            config = classifier.config
            model = MBDCNN(config)
            load_weights(coarse.weights, model.coarse)
            load_weights(classifier.weights, model.classifier)
            core = TorchCore(model, torch.device("cpu"))
            for row in Fold(number, 2).split(data.split("train"))[1]:
                views = (0, 1, 2) if data.classes[row.label] == "nevus" else (0, 2, 4)
                # The stored fractions are 3 for nevi, 4 and 3 for the others; test images have 3.
                patches = tuple(row.views[view] for view in views)
                inputs = inputs_of_row(data, replace(row, views=patches, evaluation_row=None), config.data)
                logits.append(next(iter(run_protocol(core, [inputs], protocol))).view_logits)
                labels.append(row.label)
        temperature = fit_temperature(np.stack(logits).astype(float), np.array(labels))
        calibration = bundle.calibration(protocol)
        assert calibration.temperature == pytest.approx(temperature, rel=0.02)
        assert calibration.images == 16
        assert "trained without its fold of 2" in calibration.source


def test_coarse_sn_may_be_one_for_all_folds(made_from: dict[str, Any], tmp_path: Path, runs: dict[str, Run]) -> None:
    folds = [(runs["coarse"], classifier) for _, classifier in made_from["folds"]]
    calibration = write_bundle(out=tmp_path / "bundle", **(made_from | {"folds": folds})).calibration("fast")
    assert calibration.images == 16
    assert calibration.source == "training images, each predicted by a mask-CN trained without its fold of 2"


def test_calibration_by_the_images_of_one_source(made_from: dict[str, Any], data, tiny_config) -> None:
    config = tiny_config("calibration.sources=[elsewhere]")
    with pytest.raises(UserError, match=r"calibration.sources: no labelled training image is of elsewhere; the data's"):
        left_out_by_folds(data, made_from["folds"], torch.device("cpu"), config)
    for number, row in enumerate(data.rows):
        data.rows[number] = replace(row, origin="clinic" if number % 2 else "atlas")
    config = tiny_config("calibration.sources=[clinic]")
    held_out = left_out_by_folds(data, made_from["folds"], torch.device("cpu"), config)
    assert {row.origin for row in held_out.rows} == {"clinic"}
    assert len(held_out.rows) == sum(row.origin == "clinic" for row in data.split("train"))
    assert held_out.source.startswith("clinic training images")


def test_folds_in_another_order_are_refused(made_from: dict[str, Any], tmp_path: Path, runs: dict[str, Run]) -> None:
    for folds in (made_from["folds"][::-1], made_from["folds"][:1], [(runs["coarse"], runs["classifier"])]):
        with pytest.raises(UserError, match="not the run that leaves out fold 0/"):
            write_bundle(out=tmp_path / "bundle", **(made_from | {"folds": folds}))
    with pytest.raises(UserError, match="give the data too"):
        write_bundle(out=tmp_path / "bundle", **(made_from | {"data": None}))
    assert not (tmp_path / "bundle").exists()


def test_folds_need_every_view_among_those_of_rare_classes(data, made_from: dict[str, Any], tiny_config) -> None:
    config = tiny_config("data.views.fractions=[3, 2]")
    with pytest.raises(UserError, match="rare_fractions lacks 2, which"):
        check_fold_runs(made_from["folds"], data, config)


def test_a_fold_whose_starting_weights_knew_its_images_calibrates_nothing(
    data, made_from: dict[str, Any], tiny_config, tmp_path: Path, runs: dict[str, Run]
) -> None:
    """Its own training left them out, that of the weights it started from did not."""
    config = tiny_config(f"coarse.initial_weights={runs['coarse'].path}", "coarse.training.length=1 step")
    coarse = train("coarse", data, tmp_path / "coarse", config, fold=Fold(0, 2))
    folds = [(coarse, made_from["folds"][0][1]), made_from["folds"][1]]
    with pytest.raises(UserError, match=r"left out fold 0/2, but its starting weights were trained on lesions"):
        check_fold_runs(folds, data, tiny_config())


def test_without_folds_validation_images_serve_and_it_says_so(made_from, tmp_path: Path, data) -> None:
    bundle = write_bundle(out=tmp_path / "bundle", **(made_from | {"folds": ()}))
    assert bundle.calibration("fast").source.startswith("validation images, which also chose the weights")
    assert bundle.calibration("fast").images == 8
    assert bundle.seen("calibration").ids == bundle.seen("selection").ids
