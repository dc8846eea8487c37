"""From prepared data to a trained network: `train`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import BatchSampler, DataLoader

from mbdcnn.artifacts import Draft, MaskSet, PreparedData, Run, check_same_data, draft_path
from mbdcnn.artifacts.manifest import Row
from mbdcnn.artifacts.provenance import file_digest
from mbdcnn.artifacts.seen import Seen, write_seen
from mbdcnn.config import Config, Training, save_config, with_classes
from mbdcnn.data.folds import Fold
from mbdcnn.errors import UserError
from mbdcnn.models import CoarseSegmenter, EnhancedSegmenter, MaskGuidedClassifier, build_classifier, build_network
from mbdcnn.models.backbones import check_backbones
from mbdcnn.models.checkpoints import Network
from mbdcnn.models.weights import load_weights
from mbdcnn.system.files import exclusive
from mbdcnn.system.progress import Progress, silent
from mbdcnn.training.batches import (
    ClassificationPatches,
    Samples,
    SegmentationTraining,
    SegmentationValidation,
    TrainingOrder,
    as_images,
    sampling_weights,
)
from mbdcnn.training.classification import ClassificationTask
from mbdcnn.training.engine import fit
from mbdcnn.training.group import Group, join
from mbdcnn.training.schedule import classification_rows, segmentation_rows, total_steps, validation_steps
from mbdcnn.training.segmentation import EnhancedSegmentationTask, SegmentationTask
from mbdcnn.training.start import Start, find_start, initialise
from mbdcnn.training.task import Course, Task
from mbdcnn.types import Images

Stage = Literal["coarse", "classifier", "enhanced"]
MARK = Path("checkpoints", "identity")
"""File of an unfinished run that says what it is trained from."""
LAST = Path("checkpoints", "last.ckpt")
"""What it is resumed from."""
VALIDATION_BATCH = 32
Interrupted = Literal["refuse", "resume", "restart", "resume or restart"]


@dataclass(frozen=True)
class Sources:
    """What a stage is trained from beside the prepared data."""

    masks: MaskSet | None = None
    """Coarse masks, for classifier and enhanced."""
    coarse: Run | None = None
    """Starting weights of enhanced."""
    classifier: Run | None = None
    """Frozen giver of activation maps, for enhanced."""


class Assembly(NamedTuple):
    """A training put together."""

    task: Task
    samples: Any
    validation: Any
    rows: dict[str, list[Row]]
    """Images by use, `train` and `validation`."""
    weights: npt.NDArray[np.float64] | None = None
    """Chances of the samples."""
    facts: Mapping[str, Any] = {}
    """What to record of the starting weights."""


def train(
    stage: Stage,
    data: PreparedData,
    out: Path,
    config: Config,
    sources: Sources = Sources(),
    *,
    fold: Fold | None = None,
    interrupted: Interrupted = "refuse",
    overwrite: bool = True,
    progress: Progress = silent,
) -> Run:
    """Train one network, or give the run that lies at `out` if it was made from just this.

    Args:
        stage: which network.
        data: prepared images.
        out: folder of the run.
        config: its section for the stage, seed, classes and CAM mode count.
        sources: masks and runs the stage needs.
        fold: leave out this fold of the training images.
        interrupted: what to do about an unfinished run at `out`. One that began with other settings or sources
            cannot be resumed.
        overwrite: replace a finished run of other settings or sources at `out`.
        progress: called with the number of steps done.

    Raises:
        UserError: sources missing, of other data or of another fold, an unfinished run in the way or, without
            `overwrite`, a finished one; a loss that is not finite.
    """
    config = with_classes(config, data.classes)
    data.check_made_with(config)
    check_backbones(config)
    start = find_start(stage, config)
    settings, inputs = _settings(stage, config, fold), _inputs(stage, data, sources, start, fold)
    if Run.is_current(out, settings, inputs):
        return Run.open(out)
    if not overwrite and not (interrupted == "resume" and (draft_path(out) / LAST).is_file()):
        # An unfinished one beside it was begun with leave to replace it.
        Run.check_free(out)
    group = join(config.runtime.device)
    with _draft(out, settings, inputs, interrupted, group) as draft:
        assembly = _assemble(stage, data, config, sources, fold, start)
        if group.first:
            save_config(config, draft.path / "config.yaml")
            _write_ids(draft, assembly.rows, start)
        draft.facts |= assembly.facts
        loaders = _loaders(assembly, getattr(config, stage).training, group)
        fit(assembly.task, loaders, draft, config.runtime.device, progress, group)
    return Run.open(out)


@contextmanager
def _draft(
    out: Path, settings: dict[str, Any], inputs: dict[str, str], interrupted: Interrupted, group: Group
) -> Iterator[Draft]:
    """Give the draft of a run; the first process looks at what lies there before the others, and alone writes."""
    identity = Run.identity_of(settings, inputs)
    with ExitStack() as held:

        def prepare() -> None:
            held.enter_context(exclusive(out.resolve()))
            _prepare_draft(out, identity, interrupted)

        group.after_first(prepare)
        if not group.first:
            group.wait()
            yield Draft(draft_path(out))
            group.wait()
            return
        with Run.writing(out, settings, inputs, keep=True) as draft:
            mark = draft.path / MARK
            mark.parent.mkdir(exist_ok=True)
            if not mark.is_file():
                # Once only: emptied by a kill or a full disk, it would make the run one of other settings.
                mark.write_text(identity)
            group.wait()
            yield draft
    # Only now: a training that could not be sealed, on a full disk, is resumed from these.
    (out / "checkpoints" / "best.ckpt").unlink(missing_ok=True)
    group.wait()


def _settings(stage: Stage, config: Config, fold: Fold | None) -> dict[str, Any]:
    section = getattr(config, stage).model_dump(mode="json")
    section.pop("folds", None)  # what the masks come from, not the network
    section.pop("initial_weights", None)  # its content counts, among the inputs
    settings = {"stage": stage, "classes": list(config.classes), "seed": config.seed, stage: section}
    if stage == "enhanced":
        settings["cam"] = config.cam
    if fold is not None:
        settings["fold"] = list(fold)
    return settings


def _inputs(
    stage: Stage, data: PreparedData, sources: Sources, start: Start | None, fold: Fold | None
) -> dict[str, str]:
    needed = {"coarse": [], "classifier": ["masks"], "enhanced": ["masks", "coarse", "classifier"]}[stage]
    inputs = {"data": data.provenance.fingerprint}
    for name in needed:
        source: MaskSet | Run | None = getattr(sources, name)
        if source is None:
            raise UserError(f"train {stage}: give --{name}, made from {data.path}")
        check_same_data(source, data)
        if isinstance(source, Run):
            _check_same_fold(source, fold)
        inputs[name] = source.provenance.fingerprint
    if start is not None:
        inputs["initial_weights"] = file_digest(start.weights)
    return inputs


def _check_same_fold(run: Run, fold: Fold | None) -> None:
    # An ensemble is of the networks of folds, the first of which guides a network that is trained on all images.
    guides = run.stage == "classifier" and fold is None
    if not run.is_import and run.fold != fold and not guides:
        wanted = f"leaves out fold {fold.number}/{fold.of}" if fold else "was trained on all folds"
        raise UserError(f"{run.path}: give the {run.stage} run that {wanted}")


def _prepare_draft(out: Path, identity: str, interrupted: Interrupted) -> None:
    draft = draft_path(out)
    if not (draft / LAST).is_file():
        # Stopped before anything was learnt.
        shutil.rmtree(draft, ignore_errors=True)
        return
    mark = draft / MARK
    same = mark.is_file() and mark.read_text() == identity
    if interrupted == "refuse":
        remedy = "--resume to continue it or " if same else ""
        raise UserError(f"{out}: an unfinished run is kept at {draft}; give {remedy}--overwrite to discard it")
    if interrupted == "resume" and not same:
        raise UserError(
            f"{out}: the unfinished run at {draft} began with other settings or sources; give --overwrite to discard it"
        )
    if interrupted == "restart" or not same:
        # First, so that what a kill leaves of the folder is not gone on with.
        (draft / LAST).unlink()
        shutil.rmtree(draft)


def _assemble(
    stage: Stage,
    data: PreparedData,
    config: Config,
    sources: Sources,
    fold: Fold | None,
    start: Start | None,
) -> Assembly:
    lightning.seed_everything(config.seed, verbose=False)
    network = build_network(stage, config)
    facts = initialise(network, config, start, sources.coarse, lambda: _some_images(data, fold))
    if stage == "classifier":
        assembly = _classification(network, data, config, sources, fold)
    else:
        assembly = _segmentation(stage, network, data, config, sources, fold)
    return assembly._replace(facts=facts)


def _some_images(data: PreparedData, fold: Fold | None) -> Images:
    rows = segmentation_rows(data, "train", fold)
    some = [row.views[0] for row in rows[:: max(1, len(rows) // 64)]]
    return as_images(torch.from_numpy(data.patches[some]))


def _segmentation(
    stage: Stage, network: Network, data: PreparedData, config: Config, sources: Sources, fold: Fold | None
) -> Assembly:
    section = config.enhanced if stage == "enhanced" else config.coarse
    rows = {split: segmentation_rows(data, split, fold) for split in ("train", "validation")}
    samples = SegmentationTraining(data, rows["train"], sources.masks)
    validation = SegmentationValidation(data, rows["validation"], sources.masks)
    course = _course(section.training, data, config, samples)
    if stage == "coarse":
        assert isinstance(network, CoarseSegmenter)
        task: Task = SegmentationTask(network, course, section)
    else:
        assert isinstance(network, EnhancedSegmenter)
        assert sources.classifier is not None
        classifier = build_classifier(sources.classifier.config)
        load_weights(sources.classifier.weights, classifier)
        task = EnhancedSegmentationTask(network, course, config.enhanced, classifier, config.cam)
    weights = sampling_weights(rows["train"], 0.0, section.source_shares)
    return Assembly(task, samples, validation, rows, weights)


def _classification(
    network: Network, data: PreparedData, config: Config, sources: Sources, fold: Fold | None
) -> Assembly:
    section = config.classifier
    assert sources.masks is not None
    rows = {split: classification_rows(data, split, fold) for split in ("train", "validation")}
    truth = bool(section.evidence_weight or section.augmentation.background)
    samples = ClassificationPatches(data, rows["train"], sources.masks, crops=section.crops, truth=truth)
    validation = ClassificationPatches(data, rows["validation"], sources.masks)
    patches = [rows["train"][owner] for owner in samples.owners]
    weights = sampling_weights(patches, section.balance, section.source_shares)
    assert isinstance(network, MaskGuidedClassifier)
    course = _course(section.training, data, config, samples)
    task = ClassificationTask(network, course, section, validation, config.classes)
    return Assembly(task, samples, validation, rows, weights)


def _course(training: Training, data: PreparedData, config: Config, samples: Samples) -> Course:
    side = data.provenance.settings["data"]["image_size"]
    return Course(training, side, total_steps(training, len(samples)), config.seed, samples.ids)


def _loaders(assembly: Assembly, settings: Training, group: Group) -> tuple[DataLoader[Any], DataLoader[Any]]:
    rank, count = group.processes.rank, group.processes.count
    group.check_shares(min(settings.batch_size, len(assembly.samples)), len(assembly.validation))
    order = TrainingOrder(
        len(assembly.samples),
        settings.batch_size,
        validation_steps(settings, len(assembly.samples)),
        assembly.task.seed,
        current_step=lambda: assembly.task.global_step,
        weights=assembly.weights,
        rank=rank,
        world_size=count,
    )
    in_turn = BatchSampler(range(rank, len(assembly.validation), count), VALIDATION_BATCH, drop_last=False)
    return (
        DataLoader(assembly.samples, sampler=order, batch_size=None),
        DataLoader(assembly.validation, sampler=in_turn, batch_size=None),
    )


def _write_ids(draft: Draft, rows: dict[str, list[Row]], start: Start | None) -> None:
    before = start or Start(draft.path)
    uses = {"training": Seen.of(rows["train"]) | before.training}
    write_seen(draft.path, uses | {"selection": Seen.of(rows["validation"]) | before.selection})
    draft.facts |= {"training_images": len(rows["train"]), "validation_images": len(rows["validation"])}
