"""All stages in order: a list of calls, each of which does nothing where its result is up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mbdcnn.artifacts import Bundle, MaskSet, PreparedData, Report, Run
from mbdcnn.artifacts.overlap import check_apart
from mbdcnn.bundling.held_out import check_views
from mbdcnn.bundling.write import describe_results, write_bundle
from mbdcnn.config import Config
from mbdcnn.data.folds import Fold
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.evaluation.evaluate import evaluate
from mbdcnn.evaluation.options import Options
from mbdcnn.inference.masks import generate_masks
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.networks import STAGES
from mbdcnn.models.backbones import check_backbones
from mbdcnn.system.progress import Progress
from mbdcnn.training.fit import Sources, Stage, train
from mbdcnn.training.schedule import classification_rows, segmentation_rows
from mbdcnn.training.start import check_start

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress bar with a title."""


@dataclass(frozen=True)
class Results:
    """What a whole run leaves behind."""

    data: PreparedData
    masks: MaskSet
    bundle: Bundle
    report: Report


def run(
    raw: Path,
    out: Path,
    config: Config,
    bar: Bar,
    split: str | None = None,
    *,
    extra: Sequence[Path] = (),
    allow_overlap: bool = False,
    protocol: ProtocolName = "fast",
) -> Results:
    """Go from raw pictures to a scored model.

    Args:
        raw: pictures in one of the layouts that `prepare` reads.
        out: folder for all that is made: `data`, `runs`, `masks`, `bundle`, `report`.
        config: the experiment.
        bar: opens a progress bar.
        split: what to evaluate on; the test split where there is one, else validation.
        extra: more pictures in one of these layouts.
        allow_overlap: go on where a patient, lesion or image is in more than one split, or starting weights were
            trained on images of another split than training.
        protocol: how the model is scored.

    Raises:
        UserError: something the user gave is wrong. Interrupted trainings are resumed by running again.
    """
    check_backbones(config)
    if config.calibration.folds:
        # Now, rather than after days of training.
        check_views(config.data, config.classes)
    device = config.runtime.device
    with bar("prepare") as progress:
        data = prepare(raw, out / "data", config, progress, extra=extra)
    # One set of folds for coarse masks and calibration: the configuration sees to it that their numbers agree.
    count = config.coarse.folds or config.calibration.folds
    _check_trainable(data, count)
    _check_overlap(data, config, allow_overlap)
    coarse = _train("coarse", data, out / "runs" / "coarse", config, Sources(), bar)
    coarse_folds = _train_folds("coarse", count, data, out, config, Sources(), bar)
    unseen = coarse_folds if config.coarse.folds else ()
    with bar("coarse masks") as progress:
        masks = generate_masks(coarse, data, out / "masks", folds=unseen, device=device, progress=progress)
    classifier_folds = _train_folds("classifier", config.calibration.folds, data, out, config, Sources(masks), bar)
    if config.committee > 1:
        classifier = classifier_folds[0]
    else:
        classifier = _train("classifier", data, out / "runs" / "classifier", config, Sources(masks), bar)
    guides = Sources(masks, coarse, classifier)
    enhanced = _train("enhanced", data, out / "runs" / "enhanced", config, guides, bar)
    with bar("bundle") as progress:
        bundle = write_bundle(
            {"coarse": coarse, "classifier": classifier, "enhanced": enhanced},
            out / "bundle",
            data=data,
            # No classifier folds where only the masks are out of fold.
            folds=list(zip(coarse_folds, classifier_folds, strict=False)),
            calibration=config.calibration,
            committee=config.committee,
            device=device,
            progress=progress,
        )
    samples = config.evaluation.bootstrap_samples
    options = Options(protocol=protocol, device=device, bootstrap_samples=samples, allow_training_images=allow_overlap)
    report = _score(bundle, data, split, out / "report", options, bar)
    return Results(data, masks, bundle, report)


def _check_trainable(data: PreparedData, folds: int) -> None:
    missing = {"train", "validation"} - {row.split for row in data.rows}
    if missing:
        raise UserError(f"{data.path}: no {' and no '.join(sorted(missing))} images; a run trains and validates")
    # Now, rather than after the networks before have been trained.
    for fold in (None, *(Fold(number, folds) for number in range(folds))):
        for split in ("train", "validation"):
            segmentation_rows(data, split, fold)
            classification_rows(data, split, fold)


def _check_overlap(data: PreparedData, config: Config, allowed: bool) -> None:
    """Refuse now, rather than after days of training, what would make the scores say little about new patients."""
    if not allowed:
        check_apart(data.rows, str(data.path))
    for stage in STAGES:
        check_start(stage, data, config, allow_overlap=allowed)


def _score(bundle: Bundle, data: PreparedData, split: str | None, out: Path, options: Options, bar: Bar) -> Report:
    split = split or ("test" if any(row.split == "test" for row in data.rows) else "validation")
    with bar(f"evaluate {split}") as progress:
        report = evaluate(bundle, data, split, out, options, progress)
    describe_results(bundle, f"the {split} images", report.metrics)
    return report


def _train_folds(
    stage: Stage, folds: int, data: PreparedData, out: Path, config: Config, sources: Sources, bar: Bar
) -> list[Run]:
    places = [out / "runs" / f"{stage}-fold{number}" for number in range(folds)]
    return [
        _train(stage, data, place, config, sources, bar, Fold(number, folds)) for number, place in enumerate(places)
    ]


def _train(
    stage: Stage, data: PreparedData, out: Path, config: Config, sources: Sources, bar: Bar, fold: Fold | None = None
) -> Run:
    title = f"train {stage}" + ("" if fold is None else f", fold {fold.number}/{fold.of}")
    with bar(title) as progress:
        return train(stage, data, out, config, sources, fold=fold, interrupted="resume or restart", progress=progress)
