"""Three runs put together into a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch

from mbdcnn.artifacts import Bundle, Draft, PreparedData, Run, check_same_data
from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.seen import Seen, write_seen
from mbdcnn.bundling.calibrate import calibrate
from mbdcnn.bundling.card import model_card, with_results
from mbdcnn.bundling.held_out import (
    Advance,
    FoldRuns,
    check_fold_runs,
    fit_ood_score,
    images_for_ood_score,
    left_out_by_folds,
    validation_images,
)
from mbdcnn.config import Calibration as Settings
from mbdcnn.config import Config, save_config
from mbdcnn.errors import UserError
from mbdcnn.inference.networks import STAGES, load_networks
from mbdcnn.inference.ood import FILE
from mbdcnn.inference.runtimes import TorchCore
from mbdcnn.models.weights import copy_weights, write_ensemble
from mbdcnn.system.device import choose_device
from mbdcnn.system.files import disk_errors_as_user_errors, replacing
from mbdcnn.system.progress import Progress, silent


def write_bundle(
    runs: dict[str, Run],
    out: Path,
    *,
    data: PreparedData | None = None,
    folds: FoldRuns = (),
    calibration: Settings | None = None,
    ensemble: int | None = None,
    half: bool = False,
    device: str = "auto",
    overwrite: bool = True,
    progress: Progress = silent,
) -> Bundle:
    """Put three runs together, or give the bundle at `out` if it was made from just these.

    Args:
        runs: one for each of `coarse`, `classifier`, `enhanced`.
        out: folder of the bundle.
        data: images to calibrate on and to learn from what is usual; neither is done without.
        folds: runs of coarse-SN and mask-CN that each left out one fold of the training images, in order, to calibrate
            on training images; without them the validation images serve.
        calibration: operating points; as in the configuration of the runs if None.
        ensemble: how many of the folds' networks are averaged to be mask-CN, or 1 for the classifier run alone; if
            None as in the configuration of the runs, or 1 without folds.
        half: store weights in half precision.
        device: where the networks run.
        overwrite: replace another bundle at `out`.
        progress: called with the number of images done.

    Raises:
        UserError: the runs were not trained from one another or from the data, one lacks part of its network or left
            out another fold.
    """
    _check_related(runs)
    for run in runs.values():
        run.check_whole()
    config = _joined_config(runs)
    size = ensemble if ensemble is not None else config.ensemble if folds else 1
    members = _ensemble(runs["classifier"], folds, size)
    changes = {"calibration": calibration or config.calibration, "ensemble": len(members)}
    config = config.model_copy(update=changes)
    settings, inputs = _made_from(runs, config, data, folds, half)
    if Bundle.is_current(out, settings, inputs):
        return Bundle.open(out)
    with Bundle.writing(out, settings, inputs, overwrite=overwrite) as draft:
        _write_weights(draft, runs, members, half)
        save_config(config, draft.path / "config.yaml")
        draft.facts |= {stage: runs[stage].provenance.facts for stage in STAGES}
        draft.facts |= {"half": half, "intended_use": "Research and education. Not a medical device."}
        used = [] if data is None else _calibrate(draft, config, data, folds, choose_device(device), progress)
        _write_ids([*runs.values(), *members], used, draft)
        (draft.path / "README.md").write_text(model_card(config, draft.facts), encoding="utf-8")
    return Bundle.open(out)


def describe_results(bundle: Bundle, title: str, metrics: dict[str, Any]) -> None:
    """Put a report's headline into the bundle's card, unless something stands there already, or it is a link."""
    file = bundle.path / "README.md"
    # A hub's cache links to it; in an untrusted bundle it might be any file of the user's.
    if file.is_symlink():
        return
    card = file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""
    told = with_results(card, title, metrics)
    if told != card:
        with disk_errors_as_user_errors(file), replacing(file) as draft:
            draft.write_text(told, encoding="utf-8", errors="surrogateescape")


def _check_related(runs: dict[str, Run]) -> None:
    enhanced = runs["enhanced"].provenance.inputs
    for stage in ("coarse", "classifier"):
        if enhanced.get(stage) != runs[stage].provenance.fingerprint:
            raise UserError(f"{runs[stage].path}: not the {stage} run that {runs['enhanced'].path} was trained with")


def _ensemble(classifier: Run, folds: FoldRuns, size: int) -> list[Run]:
    """Give the networks that are mask-CN together: those of the first folds, or that of the classifier run alone.

    Not those that do best on validation, whose score would then be better than on any other images.
    """
    if size == 1:
        return [classifier]
    if not 1 < size <= len(folds):
        raise UserError(f"an ensemble of {size}, but {len(folds)} fold(s) of mask-CN; give more, or an ensemble of 1")
    return [run for _, run in folds[:size]]


def _made_from(
    runs: dict[str, Run],
    config: Config,
    data: PreparedData | None,
    folds: FoldRuns,
    half: bool,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Give settings and inputs that decide what the bundle holds, after checking that they fit together."""
    settings: dict[str, Any] = {"half": True} if half else {}
    settings |= {"ensemble": config.ensemble} if config.ensemble > 1 else {}
    inputs = {stage: runs[stage].provenance.fingerprint for stage in STAGES}
    if data is None:
        if folds:
            raise UserError("runs of folds calibrate on training images; give the data too")
        return settings, inputs
    data.check_made_with(config, str(runs["enhanced"].path))
    for run in runs.values():
        check_same_data(run, data)
    check_fold_runs(folds, data, config)
    # Not the number of folds: the runs themselves are inputs.
    settings["calibration"] = config.calibration.model_dump(mode="json", exclude={"folds"})
    inputs["data"] = data.provenance.fingerprint
    for number, pair in enumerate(folds):
        for stage, run in zip(STAGES, pair, strict=False):
            inputs[f"{stage} fold {number}"] = run.provenance.fingerprint
    return settings, inputs


def _write_weights(draft: Draft, runs: dict[str, Run], members: list[Run], half: bool) -> None:
    for stage in STAGES:
        file = draft.path / f"{stage}.safetensors"
        if stage == "classifier" and len(members) > 1:
            write_ensemble([run.weights for run in members], file, half=half)
            draft.facts["ensemble"] = [{"fold": run.fold, **run.provenance.facts} for run in members]
        else:
            copy_weights(runs[stage].weights, file, half=half)


def _calibrate(
    draft: Draft, config: Config, data: PreparedData, folds: FoldRuns, device: torch.device, progress: Progress
) -> list[Row]:
    """Add calibration and the out-of-distribution scorer to a draft with weights; give the images calibrated on."""
    core = TorchCore(load_networks(config, draft.path), device)
    held_out = left_out_by_folds(data, folds, device, config) if folds else validation_images(data, core)
    usual = images_for_ood_score(data)
    counts = {split: len(rows) for split, rows in usual.items()}
    advance = _counted(progress, sum(counts.values()) + len(held_out.rows))
    fit_ood_score(core, data, usual, config.data, advance).save(draft.path / FILE)
    draft.facts["out_of_distribution"] = {"training_images": counts["train"], "held_out_images": counts["validation"]}
    if held_out.rows:
        draft.facts["calibration"] = {
            protocol: calibrate(evidence, config.classes, config.calibration, held_out.source, config.seed).model_dump(
                mode="json"
            )
            for protocol, evidence in held_out.evidence(data, config.data, advance).items()
        }
    return held_out.rows


def _counted(progress: Progress, total: int) -> Advance:
    """Give a function that is told of each batch, and tells how many images are done by then."""
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        progress(done, total)

    return advance


def _joined_config(runs: dict[str, Run]) -> Config:
    """Take each network's section from its own run, the rest from the last; leave out paths of this machine."""
    sections = {
        stage: getattr(run.config, stage).model_copy(update={"initial_weights": None}) for stage, run in runs.items()
    }
    return runs["enhanced"].config.model_copy(update=sections)


def _write_ids(runs: Sequence[Run], calibration: list[Row], draft: Draft) -> None:
    uses = {use: reduce(or_, (run.seen(use) for run in runs)) for use in ("training", "selection")}
    write_seen(draft.path, uses | {"calibration": Seen.of(calibration)})
