from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mbdcnn.artifacts import MaskSet, PreparedData, Report, Run
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.evaluation.evaluate import evaluate
from mbdcnn.evaluation.options import Options
from mbdcnn.evaluation.report.wording import score_lines
from mbdcnn.inference.masks import generate_masks
from mbdcnn.pipeline import run
from mbdcnn.training.fit import Sources, train

pytestmark = pytest.mark.slow

CLASSIFIERS = {"runs/classifier", "runs/classifier-fold0", "runs/classifier-fold1"}


def times(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in sorted(folder.rglob("*"))}


@pytest.fixture
def copy(experiment, tmp_path: Path) -> Path:
    shutil.copytree(experiment.out, tmp_path / "out")
    return tmp_path / "out"


def test_everything_is_there(experiment) -> None:
    kinds = {"data": PreparedData, "masks": MaskSet, "report": Report}
    for name, kind in kinds.items():
        kind.open(experiment.out / name, verify=True)
    assert {file.name for file in (experiment.out / "runs").iterdir()} == {
        "coarse",
        "coarse-fold0",
        "coarse-fold1",
        "classifier",
        "classifier-fold0",
        "classifier-fold1",
        "enhanced",
    }
    metrics = experiment.results.report.metrics
    assert 0 <= metrics["segmentation"]["enhanced"]["jaccard"]["value"] <= 1
    assert 0 <= metrics["classification"]["mean_auc"]["value"] <= 1
    assert not list(experiment.out.rglob("*.partial"))


def test_doing_it_again_does_nothing(experiment, raw: Path, copy: Path, bar) -> None:
    before = times(copy)
    run(raw, copy, experiment.config, bar)
    assert times(copy) == before


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("runtime.workers=1", set()),
        ("evaluation.bootstrap_samples=21", {"report"}),
        ("enhanced.training.length=1 epoch", {"runs/enhanced", "bundle", "report"}),
        ("classifier.training.length=3 steps", {*CLASSIFIERS, "runs/enhanced", "bundle", "report"}),
        ("calibration.sensitivities=[0.7]", {"bundle", "report"}),
        ("cam=relu", {"runs/enhanced", "bundle", "report"}),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(tiny_config, raw: Path, copy: Path, bar, override, redone) -> None:
    folders = ("data", *(f"runs/{file.name}" for file in (copy / "runs").iterdir()), "masks", "bundle", "report")
    before = {name: times(copy / name) for name in folders}
    results = run(raw, copy, tiny_config(override), bar)
    assert {name for name in folders if times(copy / name) != before[name]} == redone
    if override == "cam=relu":
        assert results.bundle.config.cam == "relu"


def test_the_same_inputs_give_the_same_model(experiment, raw: Path, tmp_path: Path, tiny_config) -> None:
    out = tmp_path / "out"
    (out / "x").mkdir(parents=True)
    data = prepare(raw, out / "data", experiment.config)
    assert data.provenance.fingerprint == experiment.results.data.provenance.fingerprint
    again = train("coarse", data, out / "coarse", experiment.config)
    first = Run.open(experiment.out / "runs" / "coarse")
    assert again.weights.read_bytes() == first.weights.read_bytes()


@pytest.fixture(scope="module")
def other(raw: Path, tiny_config, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The same images less one."""
    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(raw, folder / "raw")
    first = sorted((folder / "raw").rglob("*.jpg"))[-1]
    for file in (folder / "raw").rglob(f"{first.stem}*"):
        file.unlink()
    for file in (folder / "raw").rglob("*.csv"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if first.stem not in line))
    return prepare(folder / "raw", folder / "data", tiny_config())


def test_what_was_made_of_other_data_is_refused(experiment, other: PreparedData, sources, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="masks: made from other data than"):
        train("classifier", other, tmp_path / "run", experiment.config, sources)
    coarse = Run.open(experiment.out / "runs" / "coarse")
    with pytest.raises(UserError, match="coarse: made from other data than"):
        generate_masks(coarse, other, tmp_path / "masks")
    masks = generate_masks_of(other, experiment, tmp_path)
    with pytest.raises(UserError, match="coarse: made from other data than"):
        train("enhanced", other, tmp_path / "run", experiment.config, Sources(masks, coarse, sources.classifier))


def generate_masks_of(other: PreparedData, experiment, folder: Path) -> MaskSet:
    own = train("coarse", other, folder / "coarse", experiment.config)
    return generate_masks(own, other, folder / "own masks", device="cpu")


def test_a_run_of_another_fold_is_refused(experiment, data, tmp_path: Path) -> None:
    runs = [Run.open(experiment.out / "runs" / name) for name in ("coarse", "coarse-fold1", "coarse-fold0")]
    with pytest.raises(UserError, match="not the run that leaves out fold 0/2"):
        generate_masks(runs[0], data, tmp_path / "masks", folds=runs[1:])


def test_training_images_are_not_scored_by_accident(experiment, data, bundle, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"16 of 16 images, such as .*--allow-training-images"):
        evaluate(bundle, data, "train", tmp_path / "report", Options(device="cpu"))
    assert not (tmp_path / "report").exists()
    options = Options(device="cpu", allow_training_images=True)
    report = evaluate(bundle, data, "train", tmp_path / "report", options)
    assert report.metrics["segmentation"]


def test_images_that_chose_the_weights_are_pointed_out(data, bundle, tmp_path: Path) -> None:
    report = evaluate(bundle, data, "validation", tmp_path / "report", Options(device="cpu"))
    assert "8 of these images chose the model's weights" in json.dumps(report.metrics["facts"])


def test_data_that_cannot_train_are_told_before_training(raw: Path, tiny_config, tmp_path: Path, bar) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    for path in folder.glob("ISIC-2017_Validation*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match="no validation images; a run trains and validates"):
        run(folder, tmp_path / "out", tiny_config(), bar)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"data"}


def test_training_images_are_not_scored_at_scales_they_lack(experiment, tmp_path: Path) -> None:
    results = experiment.results
    options = Options(protocol="paper", allow_training_images=True)
    with pytest.raises(UserError, match="--protocol fast"):
        evaluate(results.bundle, results.data, "train", tmp_path / "report", options)


def test_a_run_tells_its_plan_and_sets_a_rival_beside_the_model(experiment, raw: Path, copy: Path, bar) -> None:
    said: list[str] = []
    results = run(raw, copy, experiment.config, bar, rival=experiment.out / "bundle", say=said.append)
    assert said[0] == "28 images: 16 train, 8 validation, 4 test"
    assert len(said) == 2
    assert results.report.metrics["comparison"]["second_name"] == str(experiment.out / "bundle")
    lines = score_lines(results.report)
    assert any(line.startswith(f"compared with {experiment.out / 'bundle'}") for line in lines)
    assert sum("no difference beyond chance" in line for line in lines) == 2


def test_a_rival_of_other_classes_is_left_out_and_why_is_said(experiment, raw: Path, copy: Path, bar) -> None:
    said: list[str] = []
    results = run(raw, copy, experiment.config, bar, rival=bundled_model(), say=said.append)
    assert said[2].startswith("not compared with the model that comes with the package: ")
    assert "comparison" not in results.report.metrics
