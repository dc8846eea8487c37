"""Foreign files into runs and bundles, through tiny networks whose tensors carry the authors' names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mbdcnn.artifacts import Bundle, PreparedData, Run
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.bundling.imports import import_model, import_run
from mbdcnn.bundling.write import write_bundle
from mbdcnn.cli import main
from mbdcnn.config import Config, load_config, save_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.errors import UserError
from mbdcnn.evaluation.evaluate import evaluate
from mbdcnn.evaluation.options import Options
from mbdcnn.inference.masks import generate_masks
from mbdcnn.inference.predictor import Predictor
from mbdcnn.models import build_network
from mbdcnn.models.names import AUTHORS_DEEPLAB, XCEPTION, our_name
from mbdcnn.models.weights import load_weights, read_state_dict, save_weights
from mbdcnn.training.fit import Sources, train

pytestmark = pytest.mark.slow

NAMES = json.loads((Path(__file__).parents[2] / "parity" / "reference_state_dicts.json").read_text())
TINY = ["width=0.05", "depth=1", "decoder_channels=8", "low_level_channels=4"]
PAPER: Config = load_config(
    None,
    [
        *(f"{stage}.network.{setting}" for stage in ("coarse", "enhanced") for setting in TINY),
        "classifier.network.width=0.05",
        "data.image_size=32",
        "data.segmentation_size=48",
        "data.scales=[32, 48]",
        "evaluation.bootstrap_samples=0",
        "runtime.workers=1",
        "runtime.device=cpu",
    ],
)
COMPACT: Config = load_config(
    "demo",
    [
        *(f"{stage}.network.width=0.1" for stage in ("coarse", "classifier", "enhanced")),
        "data.image_size=32",
        "data.segmentation_size=48",
        "data.scales=[32, 48]",
        "runtime.device=cpu",
    ],
)
State = dict[str, torch.Tensor]


def formula_state(stage: str, config: Config) -> State:
    """Fill a network of ours by a formula."""
    state = build_network(stage, config).state_dict()
    for place, (name, tensor) in enumerate(state.items()):
        if tensor.is_floating_point():
            values = torch.sin(torch.arange(tensor.numel()) * 0.37 + place).reshape(tensor.shape)
            scale = (2 / max(1, tensor[0].numel())) ** 0.5 if tensor.ndim > 1 else 0.1
            state[name] = values * scale + (1.0 if tensor.ndim == 1 and not name.endswith(("bias", "mean")) else 0.0)
    return state


def authors_state(stage: str) -> State:
    """Give the formula's tensors under the authors' names."""
    own = formula_state(stage, PAPER)
    rules = XCEPTION if stage == "classifier" else AUTHORS_DEEPLAB
    ours = {name: our_name(name, rules) for name in NAMES[stage]}
    return {name: own[target] for name, target in ours.items() if target in own}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the authors' three files; all are called as the authors call coarse-SN's."""
    folder = tmp_path_factory.mktemp("authors")
    paths = {stage: folder / f"CoarseSN_e{number}.pth" for number, stage in enumerate(NAMES)}
    for stage, path in paths.items():
        state = authors_state(stage)
        torch.save({f"module.{name}": tensor.clone() for name, tensor in state.items()}, path)
    return paths


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("data")
    generate(folder / "raw", {"train": 4, "validation": 4, "test": 4}, (64, 48))
    return prepare(folder / "raw", folder / "data", PAPER)


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("stage", ["coarse", "classifier", "enhanced"])
def test_a_file_becomes_a_run_of_its_network(files: dict[str, Path], tmp_path: Path, stage: str) -> None:
    imported = import_run(files[stage], tmp_path / "run", PAPER)
    run = Run.open_stage(tmp_path / "run", stage)
    assert imported.run.provenance == run.provenance
    assert run.provenance.facts["imported"].startswith("authors' ")
    assert run.provenance.facts["initial"] == []
    assert run.config == PAPER
    network = build_network(stage, PAPER)
    load_weights(run.weights, network)
    for name, tensor in formula_state(stage, PAPER).items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)
    run.check_whole()


def test_three_files_in_any_order_become_a_model_that_predicts(files: dict[str, Path], tmp_path: Path) -> None:
    order = [files["enhanced"], files["coarse"], files["classifier"]]
    imported, bundle = import_model(order, tmp_path / "model", PAPER)
    assert [done.run.stage for done in imported] == ["coarse", "classifier", "enhanced"]
    assert [done.file for done in imported] == [files[stage] for stage in ("coarse", "classifier", "enhanced")]
    assert bundle.path == tmp_path / "model" / "bundle"
    assert bundle.imported == ["coarse", "classifier", "enhanced"]
    assert bundle.seen("training").ids == set()
    card = (bundle.path / "README.md").read_text()
    assert "| enhanced | xception65, width 0.05 | not known | imported: authors' enhanced-SN |" in card
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    prediction = Predictor.load(bundle.path, device="cpu").predict(tmp_path / "a.png")
    assert prediction.mask.shape == (40, 60)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_evaluation_warns_that_the_training_images_are_unknown(
    files: dict[str, Path], data: PreparedData, tmp_path: Path
) -> None:
    bundle = import_model(list(files.values()), tmp_path / "model", PAPER)[1]
    report = evaluate(bundle, data, "test", tmp_path / "report", Options(device="cpu"))
    caution = report.metrics["facts"]["caution"]
    assert caution.startswith("coarse and classifier and enhanced came from elsewhere: the images they were trained on")
    assert "came from elsewhere" in (report.path / "report.html").read_text()


def test_imported_one_by_one_they_make_no_bundle(files: dict[str, Path], tmp_path: Path) -> None:
    runs = {stage: import_run(file, tmp_path / stage, PAPER).run for stage, file in files.items()}
    assert "not the coarse run that" in one_line(lambda: write_bundle(runs, tmp_path / "bundle"))


def test_files_that_are_no_model(files: dict[str, Path], tmp_path: Path) -> None:
    def attempt(*stages: str) -> str:
        return one_line(lambda: import_model([files[stage] for stage in stages], tmp_path / "model", PAPER))

    assert "both are for the coarse network" in attempt("coarse", "coarse", "enhanced")
    assert "2 files, none for the classifier network" in attempt("coarse", "enhanced")
    assert not (tmp_path / "model").exists()


def test_part_of_a_network_starts_training_but_makes_no_bundle(files: dict[str, Path], tmp_path: Path) -> None:
    state = read_state_dict(files["coarse"])
    state["cls_conv.weight"] = torch.zeros(21, *state["cls_conv.weight"].shape[1:])
    state["cls_conv.bias"] = torch.zeros(21)
    save_file(state, tmp_path / "voc.safetensors")
    imported = import_run(tmp_path / "voc.safetensors", tmp_path / "voc", PAPER)
    assert set(imported.report.dropped) == {"cls_conv.weight", "cls_conv.bias"}
    assert imported.run.provenance.facts["initial"] == ["decoder.head.weight", "decoder.head.bias"]
    message = one_line(
        lambda: import_model(
            [tmp_path / "voc.safetensors", files["classifier"], files["enhanced"]], tmp_path / "model", PAPER
        )
    )
    assert "2 of its tensors, such as decoder.head.weight, were not in the imported file" in message
    assert not (tmp_path / "model" / "bundle").exists()


def test_what_a_file_lacks_is_initialised_by_the_seed(files: dict[str, Path], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    runs = [import_run(files["coarse"], tmp_path / name, PAPER, "enhanced").run for name in ("a", "b")]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert runs[0].stage == "enhanced"
    assert {name.split(".")[0] for name in runs[0].provenance.facts["initial"]} == {"guidance"}
    assert runs[0].provenance.fingerprint == runs[1].provenance.fingerprint
    other = PAPER.model_copy(update={"seed": 1})
    third = import_run(files["coarse"], tmp_path / "c", other, "enhanced").run
    assert third.provenance.files["best.safetensors"] != runs[0].provenance.files["best.safetensors"]


def test_a_trained_run_is_not_replaced(files: dict[str, Path], tmp_path: Path) -> None:
    with Run.writing(tmp_path / "run", {"stage": "coarse"}, {}) as draft:
        draft.facts |= {"best": 0.8}
    message = one_line(lambda: import_run(files["coarse"], tmp_path / "run", PAPER))
    assert message == f"{tmp_path / 'run'}: a run that was trained lies there; choose another place"
    assert Run.open(tmp_path / "run").provenance.facts == {"best": 0.8}
    import_run(files["coarse"], tmp_path / "again", PAPER)
    import_run(files["enhanced"], tmp_path / "again", PAPER)
    assert Run.open(tmp_path / "again").stage == "enhanced"


class Attack:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_file_that_runs_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"state_dict": Attack(tmp_path / "owned")}, tmp_path / "evil.pth")
    message = one_line(lambda: import_run(tmp_path / "evil.pth", tmp_path / "run", PAPER))
    assert message.startswith(f"{tmp_path / 'evil.pth'}: not a torch file of plain tensors")
    assert {path.name for path in tmp_path.iterdir()} == {"evil.pth"}


@pytest.mark.parametrize("stage", [None, "coarse"])
def test_other_files(tmp_path: Path, files: dict[str, Path], stage: str | None) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    for file in (tmp_path / "x.safetensors", tmp_path / "nowhere.pth"):
        message = one_line(lambda file=file: import_run(file, tmp_path / "run", PAPER, stage))
        assert message.startswith(f"{file}: ")
    message = one_line(lambda: import_run(files["coarse"], tmp_path / "run", load_config("compact"), stage))
    assert "xception65" in message or "mobilenet_v2" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["classifier", "coarse"])
def test_training_starts_from_an_imported_run_of_any_network(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    generate(raw, {"train": 4, "validation": 4}, (64, 48))
    network = build_network(kind, COMPACT)
    network.load_state_dict(formula_state(kind, COMPACT))
    save_weights(tmp_path / "mobilenet.safetensors", network)
    imported = import_run(tmp_path / "mobilenet.safetensors", tmp_path / "start", COMPACT)
    assert imported.run.stage == kind
    short = {"length": "1 step", "validate_every": "1 step", "batch_size": 2, "learning_rate": 1e-12}
    training = COMPACT.coarse.training.model_copy(update=short)
    coarse = COMPACT.coarse.model_copy(update={"initial_weights": str(tmp_path / "start"), "training": training})
    config = COMPACT.model_copy(update={"coarse": coarse})
    run = train("coarse", prepare(raw, tmp_path / "data", config), tmp_path / "run", config)
    trained, start = read_state_dict(run.weights), read_state_dict(tmp_path / "mobilenet.safetensors")
    assert "initial_weights" in run.provenance.inputs
    name = "encoder.features.2.conv.0.0.weight"
    torch.testing.assert_close(trained[name], start[name], rtol=0, atol=1e-6)


def test_whole_imported_networks_stand_in_for_trained_ones(
    files: dict[str, Path], data: PreparedData, tmp_path: Path
) -> None:
    coarse, classifier = (import_run(files[stage], tmp_path / stage, PAPER).run for stage in ("coarse", "classifier"))
    masks = generate_masks(coarse, data, tmp_path / "masks")
    short = {"length": "1 step", "batch_size": 2, "precision": "fp32"}
    training = PAPER.enhanced.training.model_copy(update=short)
    config = PAPER.model_copy(update={"enhanced": PAPER.enhanced.model_copy(update={"training": training})})
    enhanced = train("enhanced", data, tmp_path / "enhanced", config, Sources(masks, coarse, classifier))
    bundle = write_bundle({"coarse": coarse, "classifier": classifier, "enhanced": enhanced}, tmp_path / "bundle")
    assert bundle.imported == ["coarse", "classifier"]
    assert len(bundle.seen("training").ids) == 4


def test_an_imported_run_that_does_not_fit_is_no_stage_of_a_training(
    files: dict[str, Path], data: PreparedData, tmp_path: Path
) -> None:
    state = authors_state("coarse")
    torch.save({name: tensor for name, tensor in state.items() if "cat_conv" not in name}, tmp_path / "part.pth")
    partial = import_run(tmp_path / "part.pth", tmp_path / "partial", PAPER).run
    assert "as initialised; train" in one_line(lambda: generate_masks(partial, data, tmp_path / "masks"))
    others = PAPER.model_copy(update={"classes": ("benign", "melanoma")})
    other = import_run(files["coarse"], tmp_path / "other", others).run
    assert "for the classes" in one_line(lambda: generate_masks(other, data, tmp_path / "masks"))


def test_a_bundle_of_our_own_runs_has_nothing_imported() -> None:
    facts = {stage: {"best": 0.5} for stage in ("coarse", "classifier", "enhanced")}
    provenance = type("Provenance", (), {"facts": facts})
    assert Bundle(Path(), provenance).imported == []  # type: ignore[arg-type]


def test_command(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_config(PAPER, tmp_path / "tiny.yaml")

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as finished:
            main(["import-weights", *arguments, "--config", str(tmp_path / "tiny.yaml")])
        return int(finished.value.code or 0)

    assert run(*map(str, files.values()), "--out", str(tmp_path / "model")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{files['coarse']}: authors' coarse-SN: ")
    assert lines[0].endswith(f"none left at initialisation; now the coarse run {tmp_path / 'model/runs/coarse'}")
    assert lines[3].startswith(f"{tmp_path / 'model' / 'bundle'}: a model")
    assert run(str(files["coarse"]), "--as", "enhanced", "--out", str(tmp_path / "run"), "-v") == 0
    assert Run.open(tmp_path / "run").stage == "enhanced"
    assert run(str(files["coarse"]), str(files["coarse"]), "--as", "enhanced", "--out", str(tmp_path / "run")) == 1
    assert "--as goes with one file" in capsys.readouterr().err


PERMUTED = ("seborrheic_keratosis", "nevus", "melanoma")


def test_a_model_under_classes_in_another_order_says_the_same_of_each(bundle: Bundle, tmp_path: Path) -> None:
    files = [bundle.weights(stage) for stage in ("coarse", "classifier", "enhanced")]
    config = bundle.config.model_copy(update={"classes": PERMUTED})
    imported, permuted = import_model(files, tmp_path / "model", config)
    assert permuted.config.classes == PERMUTED
    assert imported[1].run.provenance.facts["head"]["rows"] == {name: name for name in PERMUTED}
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    plain = import_model(files, tmp_path / "plain", bundle.config)[1]
    expected = Predictor.load(plain.path, device="cpu").predict(noise)
    found = Predictor.load(permuted.path, device="cpu").predict(noise)
    assert [*found.probabilities] == [*PERMUTED]
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert len({*expected.probabilities.values()}) == 3
    assert np.array_equal(found.mask, expected.mask)
    again = import_run(permuted.weights("classifier"), tmp_path / "back", bundle.config).run
    back, first = read_state_dict(again.weights), read_state_dict(bundle.weights("classifier"))
    assert all(torch.equal(tensor, first[name]) for name, tensor in back.items())


def test_a_model_for_other_classes_is_not_made_of_the_rows_of_these(bundle: Bundle, tmp_path: Path) -> None:
    files = [bundle.weights(stage) for stage in ("coarse", "classifier", "enhanced")]
    config = bundle.config.model_copy(update={"classes": ("nevus", "melanoma", "vascular")})
    message = one_line(lambda: import_model(files, tmp_path / "model", config))
    assert "such as head.weight of vascular, were not in the imported file" in message
    assert not (tmp_path / "model" / "bundle").exists()


def test_a_run_that_was_trained_from_lesion_weights_is_no_import(bundle: Bundle, tmp_path: Path) -> None:
    with Run.writing(tmp_path / "run", {"stage": "coarse"}, {"data": "x"}) as draft:
        draft.facts |= {"best": 0.8, "imported": "authors' coarse-SN"}
    message = one_line(lambda: import_run(bundle.weights("coarse"), tmp_path / "run", bundle.config))
    assert "a run that was trained lies there" in message


def test_an_ensemble_is_not_imported_as_one_of_its_networks(tmp_path: Path) -> None:
    files = [bundled_model() / f"{stage}.safetensors" for stage in ("coarse", "classifier", "enhanced")]
    with pytest.raises(UserError, match=r"the mean of several networks, .* give --model .*bundled"):
        import_model(files, tmp_path / "out", load_config("bundled"))
    assert not (tmp_path / "out").exists()
    assert Predictor.load(str(bundled_model()), device="cpu").bundle.config.ensemble == 3
    assert import_run(files[1], tmp_path / "alone", load_config("bundled")).report.head is not None
