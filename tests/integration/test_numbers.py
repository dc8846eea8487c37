"""Numbers that are not finite, and data with too little in them to learn or to score."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from PIL import Image
from safetensors.torch import load_file

from mbdcnn.artifacts import Run, draft_path
from mbdcnn.data.folds import Fold, fold_of
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import draw
from mbdcnn.errors import UserError
from mbdcnn.pipeline import run
from mbdcnn.training import engine
from mbdcnn.training.fit import train
from mbdcnn.training.segmentation import SegmentationTask
from mbdcnn.training.task import Task


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        train(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_images_and_keeps_the_checkpoint(
    data, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool, value: float
) -> None:
    """Also where losses are looked at later, as on a GPU."""
    right = SegmentationTask.loss
    asked: dict[int, list[int]] = {}

    def wrong(self: SegmentationTask, batch: Any) -> torch.Tensor:
        asked[self.global_step] = batch["positions"].tolist()
        return right(self, batch) * (value if self.global_step == 2 else 1)

    monkeypatch.setattr(SegmentationTask, "loss", wrong)
    monkeypatch.setattr(Task, "looks_at_once", lambda self: at_once)
    text = refusal("coarse", data, tmp_path / "run", tiny_config())
    assert f"the loss is {value} at step 2" in text
    training = [row.id for row in data.rows if row.split == "train"]
    named = [training[position] for position in asked[2]]
    assert f"on the images {', '.join(named)} (all in " in text
    draft = draft_path(tmp_path / "run")
    with (draft / "checkpoints" / "not_finite.csv").open(newline="") as stream:
        assert [(row["step"], row["id"]) for row in csv.DictReader(stream)] == [("2", name) for name in named]
    kept = torch.load(draft / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(values.isfinite().all() for values in kept["state_dict"].values())
    assert not (tmp_path / "run").exists()
    assert at_once is (3 not in asked)


def test_a_weight_that_is_not_finite_is_met_before_it_is_kept(
    data, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step before a validation is finite, and its gradient is not."""
    right = SegmentationTask.loss

    def wrong(self: SegmentationTask, batch: Any) -> torch.Tensor:
        loss = right(self, batch)
        # The gradient of the root at 0 is infinite, and infinity times 0 no number.
        return loss + ((loss * 0).sqrt() * 0 if self.global_step == 3 else 0)

    monkeypatch.setattr(SegmentationTask, "loss", wrong)
    assert "a weight is not finite at step 4, on the images " in refusal(
        "coarse", data, tmp_path / "run", tiny_config()
    )
    kept = torch.load(draft_path(tmp_path / "run") / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(values.isfinite().all() for values in kept["state_dict"].values())


def test_half_precision_leaves_out_steps_whose_gradients_are_too_large(
    data, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, with the CPU's own half precision: the scale is far too large at first and falls by half a step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=0.5**8)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    where = engine._where

    def with_scaler(*arguments: Any) -> dict[str, Any]:
        options = where(*arguments)
        return options | {"plugins": [*options["plugins"], plugin]}

    monkeypatch.setattr(engine, "_where", with_scaler)
    monkeypatch.setitem(engine.PRECISIONS, "fp32", None)
    trained = train("coarse", data, tmp_path / "run", tiny_config("coarse.training.length=4 epochs"))
    assert all(values.isfinite().all() for values in load_file(trained.path / "last.safetensors").values())
    (optimizer,) = torch.load(trained.path / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    taken = {int(state["step"]) for state in optimizer["state"].values()}
    assert len(taken) == 1
    assert 0 < taken.pop() < 8


def test_checkpoints_do_not_pass_through_another_disk(data, tiny_config, tmp_path: Path, monkeypatch) -> None:
    """From disk to disk a file is copied, and a kill leaves half of it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    train("coarse", data, tmp_path / "run", tiny_config("coarse.training.length=1 epoch"))
    assert {file.name for file in (tmp_path / "run" / "checkpoints").iterdir()} == {"identity", "last.ckpt"}


SHORT = (
    *(f"{stage}.training.{setting}" for stage in ("coarse", "enhanced") for setting in ("length=1 epoch",)),
    "classifier.training.length=2 steps",
    "classifier.training.validate_every=2 steps",
    "calibration.folds=0",
    "coarse.folds=0",
    "evaluation.bootstrap_samples=5",
)
LABELS = ("nevus", "melanoma", "nevus", "seborrheic_keratosis")


def table(
    folder: Path,
    counts: dict[str, int],
    *,
    masks: Mapping[str, str] | None = None,
    labels: Sequence[str] = LABELS,
    seed: int = 0,
    drawn: int = 0,
) -> Path:
    """Write images; masks of a split may be `black` or `white`, but for the first `drawn`, which are as drawn."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    lines = ["image,mask,label,split"]
    for split, count in counts.items():
        for number in range(count):
            label = labels[number % len(labels)]
            image, mask = draw(random, label, (60, 44))
            name = f"{split}{number}"
            image.save(folder / f"{name}.png")
            colour = (masks or {}).get(split) if number >= drawn else None
            (mask if colour is None else Image.new("L", image.size, colour)).save(folder / f"{name}_mask.png")
            lines.append(f"{name}.png,{name}_mask.png,{label},{split}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def test_three_images_to_train_on_are_enough(tiny_config, bar, tmp_path: Path) -> None:
    raw = table(tmp_path / "raw", {"train": 3, "validation": 2, "test": 1})
    results = run(raw, tmp_path / "out", tiny_config(*SHORT), bar)
    for stage in ("coarse", "classifier", "enhanced"):
        state = load_file(results.bundle.weights(stage))
        assert all(values.isfinite().all() for values in state.values())
    # One image of one class: no area under a curve, and one decision right or wrong.
    assert results.report.metrics["classification"]["mean_auc"] is None
    assert results.report.metrics["classification"]["accuracy"]["value"] in (0, 1)


def test_masks_of_lesion_alone_or_of_none_and_a_test_split_of_one_class(tiny_config, bar, tmp_path: Path) -> None:
    # One of each split as drawn: where all are white, `prepare` refuses them.
    white = {"train": "white", "validation": "white"}
    raw = table(tmp_path / "raw", {"train": 4, "validation": 4}, masks=white, drawn=1)
    more = table(tmp_path / "more", {"test": 1}, masks={"test": "black"}, labels=["nevus"], seed=1)
    results = run(raw, tmp_path / "out", tiny_config(*SHORT), bar, extra=[more])
    assert 0 <= Run.open(tmp_path / "out" / "runs" / "coarse").provenance.facts["best"] <= 1
    metrics = results.report.metrics
    assert metrics["classification"]["mean_auc"] is None
    jaccard = metrics["segmentation"]["enhanced"]["jaccard"]
    assert jaccard is None or jaccard["value"] == 0
    assert "NaN" not in (results.report.path / "metrics.json").read_text()


@pytest.mark.parametrize(
    ("counts", "options", "saying"),
    [
        ({"train": 1, "validation": 1, "test": 1}, {}, "1 train images with a mask; training takes at least 2"),
        ({"train": 3}, {}, "no validation images; a run trains and validates"),
        ({"train": 3, "validation": 1}, {}, "1 validation images with a mask; training takes at least 2"),
        (
            {"train": 3, "validation": 3},
            {"masks": {"train": "black"}},
            "like all 3 masks of the train images, it is empty, which teaches nothing and cannot be scored",
        ),
        (
            {"train": 3, "validation": 3},
            {"masks": {"validation": "black"}},
            "like all 3 masks of the validation images, it is empty, which teaches nothing and cannot be scored",
        ),
        (
            {"train": 3, "validation": 3},
            {"labels": ["melanoma"]},
            "all train images are of class melanoma; telling classes apart takes at least two",
        ),
    ],
)
def test_what_nothing_can_be_learnt_from_is_told_before_training(
    tiny_config, bar, tmp_path: Path, counts: dict[str, int], options: dict[str, Any], saying: str
) -> None:
    raw = table(tmp_path / "raw", counts, **options)
    with pytest.raises(UserError) as caught:
        run(raw, tmp_path / "out", tiny_config(*SHORT), bar)
    assert saying in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "runs").exists()


def test_folds_that_would_leave_too_little_are_told_before_training(tiny_config, bar, tmp_path: Path) -> None:
    raw = table(tmp_path / "raw", {"train": 3, "validation": 2})
    with pytest.raises(UserError, match="1 train images with a mask outside fold 0/2; training takes at least 2"):
        run(raw, tmp_path / "out", tiny_config(*SHORT, "coarse.folds=2"), bar)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_fold_that_leaves_only_empty_masks_is_refused(tiny_config, tmp_path: Path) -> None:
    raw = table(tmp_path / "raw", {"train": 4, "validation": 3}, masks={"train": "black"}, drawn=1)
    prepared = prepare(raw, tmp_path / "data", tiny_config())
    fold = Fold(fold_of(prepared.split("train"), 4)["train0"], 4)
    with pytest.raises(UserError, match="train masks are all empty; outlining lesions takes some with a lesion"):
        train("coarse", prepared, tmp_path / "run", tiny_config(), fold=fold)


def test_a_single_stage_refuses_a_single_class_too(tiny_config, tmp_path: Path) -> None:
    raw = table(tmp_path / "raw", {"train": 3, "validation": 3}, labels=["nevus"])
    prepared = prepare(raw, tmp_path / "data", tiny_config())
    from mbdcnn.inference.masks import generate_masks
    from mbdcnn.training.fit import Sources

    coarse = train("coarse", prepared, tmp_path / "coarse", tiny_config("coarse.training.length=1 step"))
    masks = generate_masks(coarse, prepared, tmp_path / "masks", device="cpu")
    assert "all train images are of class nevus" in refusal(
        "classifier", prepared, tmp_path / "run", tiny_config(), Sources(masks)
    )
