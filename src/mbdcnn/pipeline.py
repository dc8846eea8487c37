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
from mbdcnn.config import Config, with_classes
from mbdcnn.data.folds import Fold
from mbdcnn.data.prepare import prepare
from mbdcnn.errors import UserError
from mbdcnn.evaluation.evaluate import evaluate
from mbdcnn.evaluation.options import Options
from mbdcnn.evaluation.target import of_model
from mbdcnn.inference.masks import generate_masks
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.networks import STAGES
from mbdcnn.models.backbones import check_backbones
from mbdcnn.system.progress import Progress
from mbdcnn.training.fit import Sources, Stage, train
from mbdcnn.training.plan import Pace, Say, plan, plan_lines
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
    overwrite: bool = True,
    rival: Path | None = None,
    say: Say = lambda line: None,
    protocol: ProtocolName = "fast",
) -> Results:
    """Go from raw images to a scored model.

    Args:
        raw: images in one of the layouts that `prepare` reads.
        out: folder for all that is made: `data`, `runs`, `masks`, `bundle`, `report`.
        config: the experiment.
        bar: opens a progress bar.
        split: what to evaluate on; the test split where there is one, else validation.
        extra: more images in one of these layouts.
        allow_overlap: continue where a patient, lesion or image is in more than one split, or starting weights were
            trained on images of another split than training.
        overwrite: replace what was made with other settings or of other images at `out`.
        rival: a bundle to score on the same images, if it can be.
        say: told what will be done, about how long it takes, and why there is no comparison.
        protocol: how the model is scored.

    Raises:
        UserError: something the user gave is wrong. Interrupted trainings are resumed by running again.
    """
    check_backbones(config)
    with bar("prepare") as progress:
        data = prepare(raw, out / "data", config, progress, extra=extra, overwrite=overwrite)
    config = _settled(config, data)
    _check_trainable(data, config)
    _check_overlap(data, config, allow_overlap)
    trainer = _Trainer(data, out, config, overwrite, bar, _announced(data, config, say))
    masks, runs, folds = trainer.train_all()
    bundle = trainer.bundle(runs, folds)
    split = split or ("test" if any(row.split == "test" for row in data.rows) else "validation")
    options = Options(
        protocol=protocol,
        device=config.runtime.device,
        bootstrap_samples=config.evaluation.bootstrap_samples,
        compare_with=_fitting(rival, data, split, protocol, say),
        allow_training_images=allow_overlap,
        overwrite=overwrite,
    )
    return Results(data, masks, bundle, _score(bundle, data, split, out / "report", options, bar))


def _announced(data: PreparedData, config: Config, say: Say) -> Pace:
    """Say what will be trained, and give what tells how long it takes."""
    trainings = plan(data, config)
    for note in data.provenance.facts["notes"]:
        say(note)
    for line in plan_lines(trainings, data):
        say(line)
    return Pace(trainings, say)


def _fitting(rival: Path | None, data: PreparedData, split: str, protocol: ProtocolName, say: Say) -> Path | None:
    """Give the rival if it can be scored on these images, and say why it is not where it cannot."""
    if rival is None:
        return None
    try:
        of_model(Bundle.open(rival), data, data.split(split), Options(protocol=protocol))
    except UserError as error:
        say(f"not compared with the model that comes with the package: {error}")
        return None
    return rival


def _settled(config: Config, data: PreparedData) -> Config:
    """Take the classes of the data; refuse now, rather than after days of training, what cannot be computed."""
    config = with_classes(config, data.classes)
    if config.calibration.folds:
        check_views(config.data, config.classes)
    return config


def _check_trainable(data: PreparedData, config: Config) -> None:
    # One set of folds for coarse masks and calibration: the configuration sees to it that their numbers agree.
    folds = config.coarse.folds or config.calibration.folds
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


def _score(bundle: Bundle, data: PreparedData, split: str, out: Path, options: Options, bar: Bar) -> Report:
    with bar(f"evaluate {split}") as progress:
        report = evaluate(bundle, data, split, out, options, progress)
    describe_results(bundle, f"the {split} images", report.metrics)
    return report


@dataclass(frozen=True)
class _Trainer:
    """Trains the networks of a run one after another, and puts them together."""

    data: PreparedData
    out: Path
    config: Config
    overwrite: bool
    bar: Bar
    pace: Pace

    def train_all(self) -> tuple[MaskSet, dict[str, Run], list[tuple[Run, Run]]]:
        """Give the coarse masks, the run of each stage, and those of coarse-SN and mask-CN without each fold."""
        coarse = self.train("coarse", Sources())
        coarse_folds = self.train_folds("coarse", self.config.coarse.folds, Sources())
        masks = self.masks(coarse, coarse_folds)
        classifier_folds = self.train_folds("classifier", self.config.calibration.folds, Sources(masks))
        classifier = classifier_folds[0] if self.config.ensemble > 1 else self.train("classifier", Sources(masks))
        enhanced = self.train("enhanced", Sources(masks, coarse, classifier))
        # Without folds of its own, coarse-SN makes the masks of all training images.
        pairs = zip(coarse_folds or [coarse] * len(classifier_folds), classifier_folds, strict=False)
        return masks, {"coarse": coarse, "classifier": classifier, "enhanced": enhanced}, list(pairs)

    def masks(self, coarse: Run, folds: list[Run]) -> MaskSet:
        with self.bar("coarse masks") as progress:
            return generate_masks(
                coarse,
                self.data,
                self.out / "masks",
                folds=folds,
                device=self.config.runtime.device,
                overwrite=self.overwrite,
                progress=progress,
            )

    def train_folds(self, stage: Stage, folds: int, sources: Sources) -> list[Run]:
        return [self.train(stage, sources, Fold(number, folds)) for number in range(folds)]

    def train(self, stage: Stage, sources: Sources, fold: Fold | None = None) -> Run:
        name = stage if fold is None else f"{stage}-fold{fold.number}"
        title = f"train {stage}" if fold is None else f"train {stage}, fold {fold.number}/{fold.of}"
        with self.bar(title) as progress:
            return train(
                stage,
                self.data,
                self.out / "runs" / name,
                self.config,
                sources,
                fold=fold,
                interrupted="resume or restart",
                overwrite=self.overwrite,
                progress=self.pace.watch(stage, fold, progress),
            )

    def bundle(self, runs: dict[str, Run], folds: list[tuple[Run, Run]]) -> Bundle:
        with self.bar("bundle") as progress:
            bundle = write_bundle(
                runs,
                self.out / "bundle",
                data=self.data,
                folds=folds,
                calibration=self.config.calibration,
                ensemble=self.config.ensemble,
                device=self.config.runtime.device,
                overwrite=self.overwrite,
                progress=progress,
            )
        if (calibration := bundle.calibration("fast")) and calibration.note:
            self.pace.say(calibration.note)
        return bundle
