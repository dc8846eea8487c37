from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mbdcnn.artifacts import Run, unpack
from mbdcnn.artifacts.manifest import hashed_id
from mbdcnn.data.folds import Fold
from mbdcnn.errors import UserError
from mbdcnn.inference import masks
from mbdcnn.metrics.classes import mean_auc
from mbdcnn.metrics.masks import mask_metrics
from mbdcnn.models import build_classifier, build_coarse, build_enhanced, guide
from mbdcnn.models.weights import load_weights
from mbdcnn.system.rates import MatrixRates
from mbdcnn.training import segmentation
from mbdcnn.training.augment import Augmenter
from mbdcnn.training.fit import Sources, train
from mbdcnn.training.start import continue_from_coarse, pass_features_on

ONE_EPOCH = "coarse.training.length=1 epoch"


def table(run: Run) -> list[dict[str, float]]:
    with (run.path / "metrics.csv").open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def message(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        train(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(data, row) -> torch.Tensor:
    return torch.from_numpy(data.patches[row.views[0]].copy()).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def plain_jaccard(data, network, coarse=None) -> float:
    """The mean Jaccard index over the validation images, one by one."""
    scores = []
    for place, row in enumerate(data.rows):
        if row.split == "validation":
            extra = () if coarse is None else (coarse(pixels(data, row), row),)
            logits = network.eval()(pixels(data, row), *extra)[0]
            scores.append(mask_metrics((logits[1] > logits[0]).numpy(), unpack(data.masks[place]))["jaccard"])
    return float(np.nanmean(scores))


@pytest.fixture(scope="module")
def longer(data, tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = tiny_config("coarse.training.length=16 epochs", "coarse.training.validate_every=4 epochs")
    return train("coarse", data, tmp_path_factory.mktemp("longer") / "run", config)


def test_some_steps_lower_the_loss(longer: Run) -> None:
    rows = table(longer)
    assert [row["step"] for row in rows] == [8, 16, 24, 32]
    losses = [row["train_loss"] for row in rows]
    assert losses[-1] < losses[0] - 0.1
    assert all(row["train_loss"] == pytest.approx(row["train_dice"] + 0.05 * row["train_rank"]) for row in rows)


def test_the_learning_rate_falls_to_nothing(longer: Run) -> None:
    expected = [0.01 * (1 - step / 32) ** 0.9 for step in (8, 16, 24, 32)]
    assert [row["learning_rate"] for row in table(longer)] == pytest.approx(expected)


@pytest.mark.parametrize(("file", "choose"), [("best", max), ("last", lambda scores: scores[-1])])
def test_best_and_last_weights_of_coarse_have_the_scores_they_are_said_to(data, longer: Run, file, choose) -> None:
    network = build_coarse(longer.config)
    load_weights(longer.path / f"{file}.safetensors", network)
    scores = [row["jaccard"] for row in table(longer)]
    assert plain_jaccard(data, network) == pytest.approx(choose(scores), abs=1e-5)
    assert longer.provenance.facts["best"] == pytest.approx(max(scores))
    assert longer.provenance.facts["best_step"] == table(longer)[int(np.argmax(scores))]["step"]


def test_best_weights_of_the_classifier_have_the_score_they_are_said_to(data, experiment, sources: Sources) -> None:
    run, coarse_masks = sources.classifier, experiment.results.masks
    network = build_classifier(run.config)
    load_weights(run.weights, network)
    network.eval()
    probabilities, labels = [], []
    for row in data.rows:
        if row.split == "validation":
            views = list(row.views)
            images = torch.from_numpy(data.patches[views]).permute(0, 3, 1, 2).float() / 255
            coarse = torch.from_numpy(unpack(coarse_masks.patches[views]))[:, None].float()
            with torch.inference_mode():
                probabilities.append(network(images, coarse).logits.softmax(1).double().mean(0).numpy())
            labels.append(row.label)
    expected = mean_auc(np.stack(probabilities), np.array(labels))
    assert run.provenance.facts["best"] == pytest.approx(expected, abs=1e-5)
    assert run.provenance.facts["best"] == max(row["mean_auc"] for row in table(run))
    assert [row["step"] for row in table(run)] == [3, 6, 7]


def test_best_weights_of_enhanced_have_the_score_they_are_said_to(data, experiment, sources: Sources) -> None:
    run, config = Run.open(experiment.out / "runs" / "enhanced"), experiment.config
    network, classifier = build_enhanced(config), build_classifier(config)
    load_weights(run.weights, network)
    load_weights(sources.classifier.weights, classifier)

    def maps(images, row):
        coarse = torch.from_numpy(unpack(sources.masks.patches[row.views[0]]))[None, None].float()
        return guide(classifier.eval(), images, coarse, config.cam).activation_maps

    assert run.provenance.facts["best"] == pytest.approx(plain_jaccard(data, network, maps), abs=1e-5)


def test_a_run_holds_all_that_it_promises(data, longer: Run) -> None:
    files = {file.name for file in longer.path.iterdir()}
    assert files >= {"best.safetensors", "last.safetensors", "config.yaml", "metrics.csv", "curves.png", "ids.json"}
    assert (longer.path / "checkpoints" / "last.ckpt").is_file()
    assert list((longer.path / "tensorboard").glob("events.out.tfevents.*"))
    ids = json.loads((longer.path / "ids.json").read_text())
    for use, split in (("training", "train"), ("selection", "validation")):
        assert ids[use] == sorted(hashed_id(row.id) for row in data.rows if row.split == split)
    assert (longer.path / "curves.png").read_bytes().startswith(b"\x89PNG")
    Run.open(longer.path, verify=True)


def test_a_fold_leaves_out_its_images_and_no_other(data, experiment) -> None:
    trained = []
    for fold in range(2):
        run = Run.open(experiment.out / "runs" / f"coarse-fold{fold}")
        trained.append(set(json.loads((run.path / "ids.json").read_text())["training"]))
    assert not trained[0] & trained[1]
    assert trained[0] | trained[1] == {hashed_id(row.id) for row in data.rows if row.split == "train"}
    assert len(trained[0]) == len(trained[1])


@pytest.mark.parametrize("asked", ["coarse-fold0", "coarse-fold1", "coarse"])
def test_masks_of_training_images_come_from_the_network_that_did_not_see_them(
    data, experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    def network(run: Run, device: str):
        """Call everything lesion in the run that is asked about, and nothing in the others."""
        lesion = np.float32(run.path.name == asked)
        return lambda pixels: np.broadcast_to(
            np.array([0.5, lesion], np.float32)[:, None, None], (len(pixels), 2, 32, 32)
        )

    monkeypatch.setattr(masks, "coarse_network", network)
    runs = [Run.open(experiment.out / "runs" / name) for name in ("coarse", "coarse-fold0", "coarse-fold1")]
    found = masks.generate_masks(runs[0], data, tmp_path / "masks", folds=runs[1:], device="cpu")
    asked_of = Run.open(experiment.out / "runs" / asked)
    seen = set(json.loads((asked_of.path / "ids.json").read_text())["training"])
    for row in data.rows:
        given = unpack(found.patches[list(row.views)])
        unseen = row.split == "train" and hashed_id(row.id) not in seen
        assert given.all() if (unseen if "fold" in asked else row.split != "train") else not given.any()


def test_enhanced_guides_by_maps_of_the_augmented_batch_from_a_classifier_that_stays(
    data, sources: Sources, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented, guided, frozen = [], [], set()
    change = Augmenter.__call__

    def spy_change(self, *arguments):
        images, masks = change(self, *arguments)
        augmented.append((images.clone(), masks[1].clone()))
        return images, masks

    def spy_guide(classifier, images, coarse, mode):
        assert not classifier.training
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
        frozen.add(classifier)
        guided.append((images.clone(), coarse.clone()))
        return guide(classifier, images, coarse, mode)

    monkeypatch.setattr(Augmenter, "__call__", spy_change)
    monkeypatch.setattr(segmentation, "guide", spy_guide)
    run = train("enhanced", data, tmp_path / "run", tiny_config("enhanced.training.length=2 epochs"), sources)
    trained = [pair for pair in guided if any(torch.equal(pair[0], images) for images, _ in augmented)]
    assert len(trained) == len(augmented) == 4
    assert all(
        torch.equal(one, other)
        for pair, expected in zip(trained, augmented, strict=True)
        for one, other in zip(pair, expected, strict=True)
    )
    (classifier,) = frozen
    before = load_file(sources.classifier.weights)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any("frozen" in name or "classifier" in name for name in load_file(run.weights))


def test_frozen_batch_norm_keeps_its_statistics_and_the_weights_move(data, tiny_config, tmp_path: Path) -> None:
    for freeze in (True, False):
        settings = (f"coarse.training.freeze_batch_norm={str(freeze).lower()}", "coarse.training.length=2 epochs")
        state = load_file(
            train("coarse", data, tmp_path / str(freeze), tiny_config(*settings)).path / "last.safetensors"
        )
        kept = [not value.any() for name, value in state.items() if name.endswith("running_mean")]
        assert all(kept) is any(kept) is freeze


def test_enhanced_may_start_as_coarse_itself(data, experiment, sources) -> None:
    config = experiment.config
    coarse, enhanced = build_coarse(config), build_enhanced(config)
    load_weights(sources.coarse.weights, coarse)
    continue_from_coarse(enhanced, sources.coarse)
    images = torch.from_numpy(data.patches[:9].copy()).permute(0, 3, 1, 2).float() / 255
    pass_features_on(enhanced, images)
    with torch.inference_mode():
        expected = coarse.eval()(images)
        maps = torch.rand(9, 1, 2, 2)
        found = enhanced.eval()(images, maps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    enhanced.train()(images, maps)[:, 1].sum().backward()
    assert enhanced.guidance[0].weight.grad[:, -1].abs().sum() > 0


def test_how_enhanced_starts_is_a_setting(data, sources, tiny_config, tmp_path: Path) -> None:
    weights = {}
    for start in ("random", "identity"):
        settings = (f"enhanced.{each}" for each in (f"guidance_start={start}", "training.length=1 step"))
        config = tiny_config(*settings, "enhanced.training.learning_rate=1e-12")
        run = train("enhanced", data, tmp_path / start, config, sources)
        weights[start] = load_file(run.path / "last.safetensors")["guidance.0.weight"]
    channels = len(weights["identity"])
    torch.testing.assert_close(weights["identity"][:, :channels, 0, 0], torch.eye(channels))
    assert weights["random"].std() > 0.01


def test_averaged_weights_are_validated_and_kept(data, tiny_config, tmp_path: Path) -> None:
    """The average of one step's weights with share 0.5 lies half way between start and end of that step."""
    settings = [f"coarse.training.{each}" for each in ("length=2 steps", "validate_every=1 step", "poly_power=0")]
    run = train("coarse", data, tmp_path / "run", tiny_config(*settings, "coarse.training.weight_averaging=0.75"))
    plain = [
        load_file(
            train("coarse", data, tmp_path / name, tiny_config(*settings, f"coarse.training.length={name}")).path
            / "last.safetensors"
        )
        for name in ("1 step", "2 steps")
    ]
    averaged = load_file(run.path / "last.safetensors")
    for name, value in averaged.items():
        if value.is_floating_point():
            # The first step's weights begin the average.
            torch.testing.assert_close(value, 0.75 * plain[0][name] + 0.25 * plain[1][name], rtol=1e-4, atol=1e-6)
    network = build_coarse(run.config)
    load_weights(run.path / "last.safetensors", network)
    assert plain_jaccard(data, network) == pytest.approx(table(run)[-1]["jaccard"], abs=1e-5)


def test_smoothing_mixes_each_label_with_an_even_spread(data, sources, tiny_config, tmp_path: Path) -> None:
    short = ("classifier.training.length=1 step", "classifier.training.validate_every=1 step")
    loss = {}
    for share in (0.0, 0.5, 1.0):
        config = tiny_config(*short, f"classifier.label_smoothing={share}")
        loss[share] = table(train("classifier", data, tmp_path / str(share), config, sources))[0]["train_loss"]
    assert loss[0.0] != loss[1.0]
    assert loss[0.5] == pytest.approx((loss[0.0] + loss[1.0]) / 2)
    # No prediction costs less against an even spread than the even one.
    assert loss[1.0] >= np.log(3)


def test_early_stopping_stops(data, tiny_config, tmp_path: Path) -> None:
    settings = ("learning_rate=1e-20", "freeze_batch_norm=true", "early_stopping=2", "length=9 epochs")
    run = train("coarse", data, tmp_path / "run", tiny_config(*(f"coarse.training.{each}" for each in settings)))
    assert [row["step"] for row in table(run)] == [2, 4, 6]
    assert run.provenance.facts["steps"] == 6


def test_bf16_trains_on_the_cpu(data, tiny_config, tmp_path: Path) -> None:
    config = tiny_config("coarse.training.precision=bf16", "coarse.training.length=1 epoch")
    state = load_file(train("coarse", data, tmp_path / "run", config).weights)
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.int64}
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize(("rate", "precision"), [(2e11, "bf16"), (1e11, "fp32")])
def test_auto_follows_the_machine(rate, precision, data, tiny_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mbdcnn.system.device.matrix_rates", lambda: MatrixRates(1e11, rate))
    seen: list[torch.dtype] = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype) if isinstance(module, torch.nn.Conv2d) else None
    )
    config = tiny_config("coarse.training.precision=auto", "coarse.training.length=1 step")
    with hook:
        run = train("coarse", data, tmp_path / "run", config)
    assert run.provenance.facts["precision"] == precision
    assert {*seen} == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_fp16_needs_a_gpu(data, tiny_config, tmp_path: Path) -> None:
    text = message("coarse", data, tmp_path / "run", tiny_config("coarse.training.precision=fp16"))
    assert "fp16: needs a GPU; choose fp32 or bf16" in text


def test_an_unknown_device_is_refused(data, tiny_config, tmp_path: Path) -> None:
    assert "give auto, cpu" in message("coarse", data, tmp_path / "run", tiny_config("runtime.device=gpu"))


def test_every_stage_leaves_out_the_same_fold(data, sources, experiment, tiny_config, tmp_path: Path) -> None:
    fold = Fold(1, 2)
    config = tiny_config("classifier.training.length=1 step", "enhanced.training.length=1 step")
    coarse = Run.open(experiment.out / "runs" / "coarse-fold1")
    classifier = train("classifier", data, tmp_path / "classifier", config, Sources(sources.masks), fold=fold)
    guides = Sources(sources.masks, coarse, classifier)
    enhanced = train("enhanced", data, tmp_path / "enhanced", config, guides, fold=fold)
    assert coarse.seen("training").ids == classifier.seen("training").ids == enhanced.seen("training").ids
    assert coarse.fold == classifier.fold == enhanced.fold == (1, 2)


@pytest.mark.parametrize(
    ("fold", "part"), [(Fold(0, 2), "the coarse run that leaves out fold 0/2"), (Fold(1, 3), "fold 1/3")]
)
def test_a_network_that_saw_the_fold_guides_no_training_without_it(
    data, sources, experiment, tiny_config, tmp_path: Path, fold: Fold, part: str
) -> None:
    assert part in message("enhanced", data, tmp_path / "run", tiny_config(), sources, fold=fold)
    guides = Sources(sources.masks, Run.open(experiment.out / "runs" / "coarse-fold1"), sources.classifier)
    assert part in message("enhanced", data, tmp_path / "run", tiny_config(), guides, fold=fold)
    assert "was trained on all folds" in message("enhanced", data, tmp_path / "run", tiny_config(), guides)


def test_missing_sources_and_data_prepared_otherwise_are_told(data, tiny_config, tmp_path: Path) -> None:
    assert "give --masks" in message("classifier", data, tmp_path / "run", tiny_config())
    other = tiny_config("data.image_size=48")
    assert "prepared with another `data`" in message("coarse", data, tmp_path / "run", other)
    assert "no such file, run or bundle" in message(
        "coarse", data, tmp_path / "run", tiny_config("coarse.initial_weights=nowhere.safetensors")
    )
    assert not any(tmp_path.iterdir())


def test_initial_weights_are_where_training_starts(data, longer: Run, tiny_config, tmp_path: Path) -> None:
    settings = ("coarse.training.learning_rate=1e-20", "coarse.training.length=1 epoch")
    frozen = "coarse.training.freeze_batch_norm=true"
    run = train(
        "coarse", data, tmp_path / "run", tiny_config(*settings, frozen, f"coarse.initial_weights={longer.path}")
    )
    start, end = load_file(longer.weights), load_file(run.path / "last.safetensors")
    assert all(torch.equal(start[name], end[name]) for name in start)
    assert "initial_weights" in run.provenance.inputs


@pytest.mark.parametrize("stage", ["coarse", "classifier", "enhanced"])
def test_the_first_part_of_the_schedule_may_see_smaller_images(
    stage: str, data, sources: Sources, tiny_config, tmp_path: Path, monkeypatch
) -> None:
    sides: list[tuple[int, int]] = []
    whole = Augmenter.__call__

    def watched(self, *arguments):
        images, masks = whole(self, *arguments)
        sides.append((images.shape[-1], masks[-1].shape[-1]))
        return images, masks

    monkeypatch.setattr(Augmenter, "__call__", watched)
    settings = ("length=5 steps", "validate_every=5 steps", "small_side=16", "small_part=0.6")
    config = tiny_config(*[f"{stage}.training.{setting}" for setting in settings])
    train(stage, data, tmp_path / "run", config, sources)
    side = config.data.image_size
    assert sides == [(16, 16)] * 3 + [(side, side)] * 2


def test_enhanced_starts_from_its_own_weights_where_they_are_given(
    data, sources: Sources, experiment, tiny_config, tmp_path: Path, monkeypatch
) -> None:
    """Also from the model that comes with the package."""
    monkeypatch.setattr("mbdcnn.artifacts.builtin.bundled_model", lambda: experiment.results.bundle.path)
    still = ("enhanced.training.learning_rate=1e-20", "enhanced.training.freeze_batch_norm=true")
    settings = (*still, "enhanced.training.length=1 step")
    for place, source in (("run", experiment.out / "runs" / "enhanced"), ("bundled", "bundled")):
        config = tiny_config(*settings, f"enhanced.initial_weights={source}")
        run = train("enhanced", data, tmp_path / place, config, sources)
        start, end = load_file(experiment.results.bundle.weights("enhanced")), load_file(run.path / "last.safetensors")
        assert all(torch.equal(start[name], end[name]) for name in end)


def test_images_behind_the_starting_weights_count_as_trained_on(data, longer: Run, tiny_config, tmp_path: Path) -> None:
    before, ids = tmp_path / "before", json.loads((longer.path / "ids.json").read_text())
    ids["training"].append(hashed_id("an image of somewhere else"))
    with Run.writing(before, longer.provenance.settings, longer.provenance.inputs) as draft:
        shutil.copytree(longer.path, draft.path, ignore=shutil.ignore_patterns("run.json"), dirs_exist_ok=True)
        (draft.path / "ids.json").write_text(json.dumps(ids))
    run = train("coarse", data, tmp_path / "run", tiny_config(ONE_EPOCH, f"coarse.initial_weights={before}"))
    assert set(json.loads((run.path / "ids.json").read_text())["training"]) == set(ids["training"])
    assert "imported" not in run.provenance.facts


def test_starting_weights_of_unknown_origin_are_recorded(data, longer: Run, tiny_config, tmp_path: Path) -> None:
    alone = shutil.copy(longer.weights, tmp_path / "weights.safetensors")
    run = train("coarse", data, tmp_path / "run", tiny_config(ONE_EPOCH, f"coarse.initial_weights={alone}"))
    assert run.provenance.facts["imported"].startswith("mbdcnn's coarse")
    start = run.provenance.facts["starting_weights"]
    assert start["used"] > 100
    assert start["initial"] == []
    assert start["dropped"] == {}


def test_enhanced_must_be_able_to_start_as_coarse(data, sources: Sources, tiny_config, tmp_path: Path) -> None:
    other = tiny_config("enhanced.network.decoder_channels=16")
    assert "give enhanced.network the settings of coarse.network" in message(
        "enhanced", data, tmp_path / "run", other, sources
    )


def test_a_training_that_could_not_be_sealed_is_resumed(data, tiny_config, tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    config = tiny_config(ONE_EPOCH)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_seal", full)
        with pytest.raises(UserError, match="the disk is full; make room and run again, progress is kept"):
            train("coarse", data, tmp_path / "run", config)
    steps: list[int] = []
    run = train(
        "coarse",
        data,
        tmp_path / "run",
        config,
        interrupted="resume",
        progress=lambda done, total, note="": steps.append(done),
    )
    assert steps == []
    whole = train("coarse", data, tmp_path / "whole", config)
    assert run.weights.read_bytes() == whole.weights.read_bytes()
    assert not (run.path / "checkpoints" / "best.ckpt").exists()
