"""What networks make of images that did not train them: the ground that calibration stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from mbdcnn.artifacts import PreparedData, Run, check_same_data
from mbdcnn.artifacts.manifest import Row
from mbdcnn.bundling.calibrate import Evidence
from mbdcnn.config import Config, Data
from mbdcnn.data.crops import fractions_for
from mbdcnn.data.folds import Fold
from mbdcnn.errors import UserError
from mbdcnn.inference.masks import check_fold
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.ood import ImageFeatures, OODScorer
from mbdcnn.inference.protocol import Core, Inputs, classify_images, inputs_of_row
from mbdcnn.inference.runtimes import TorchCore
from mbdcnn.models import MBDCNN
from mbdcnn.models.weights import load_weights

PROTOCOLS: tuple[ProtocolName, ...] = ("fast", "paper")
BATCH = 16
MOST_IMAGES = 2000
"""Training images that the out-of-distribution score is fitted to, at most."""

FoldRuns = Sequence[tuple[Run, Run]]
"""Runs of coarse-SN and mask-CN that each left out one fold of the training images, in order. coarse-SN may be one for
all that left out none."""
Advance = Callable[[int], None]
"""Told how many images are done."""


@dataclass(frozen=True)
class HeldOut:
    """Images of known class with the networks to show them to."""

    source: str
    """What the images are, in words."""
    shares: Sequence[tuple[Callable[[], Core], list[Row]]]
    """How to get networks ready, and the images that these did not learn from."""

    @property
    def rows(self) -> list[Row]:
        """All images."""
        return [row for _, rows in self.shares for row in rows]

    def evidence(self, data: PreparedData, settings: Data, advance: Advance) -> dict[ProtocolName, Evidence]:
        """Predict every image by both protocols."""
        logits: dict[ProtocolName, list[np.ndarray]] = {protocol: [] for protocol in PROTOCOLS}
        for core, rows in self.shares:
            ready = core()
            for batch in _batches(rows):
                inputs = [_evaluation_views(data, row, settings) for row in batch]
                for protocol in PROTOCOLS:
                    logits[protocol] += [each.view_logits for each in classify_images(ready, inputs, protocol)]
                advance(len(batch))
        labels = np.array([row.label for row in self.rows], np.int64)
        groups = [row.patient or ("image", row.id) for row in self.rows]
        return {name: Evidence(np.stack(found).astype(np.float64), labels, groups) for name, found in logits.items()}


def left_out_by_folds(data: PreparedData, folds: FoldRuns, device: torch.device, config: Config) -> HeldOut:
    """Take training images, each for the networks that left out its fold: one mask-CN, be the model's an ensemble."""
    sources = config.calibration.sources
    training = data.split("train")
    shares = []
    for number, (coarse, classifier) in enumerate(folds):
        rows = [row for row in Fold(number, len(folds)).split(training)[1] if row.label is not None]
        rows = [row for row in rows if not sources or row.origin in sources]
        shares.append((partial(_joined, coarse, classifier, device), rows))
    if not any(rows for _, rows in shares):
        known = ", ".join(sorted({row.origin for row in training if row.origin})) or "none"
        raise UserError(
            f"calibration.sources: no labelled training image is of {', '.join(sources)}; the data's sources: {known}"
        )
    which = f"{' and '.join(sources)} training images" if sources else "training images"
    networks = ("a coarse-SN and " if folds[0][0].fold else "") + (
        "the one mask-CN of the model that was" if config.ensemble > 1 else "a mask-CN"
    )
    return HeldOut(f"{which}, each predicted by {networks} trained without its fold of {len(folds)}", shares)


def validation_images(data: PreparedData, core: Core) -> HeldOut:
    """Take the validation images, for the final networks."""
    rows = [row for row in data.split("validation") if row.label is not None]
    return HeldOut("validation images, which also chose the weights, so optimistically biased", [(lambda: core, rows)])


def check_fold_runs(folds: FoldRuns, data: PreparedData, config: Config) -> None:
    """Raise a UserError unless each run left out its fold of these data, with the networks of this configuration."""
    for number, pair in enumerate(folds):
        for run, stage in zip(pair, ("coarse", "classifier"), strict=True):
            check_same_data(run, data)
            if stage == "classifier" or run.fold is not None:
                check_fold(run, number, len(folds))
                _check_unseen(run, data, Fold(number, len(folds)))
            if run.provenance.settings[stage]["network"] != getattr(config, stage).network.model_dump(mode="json"):
                raise UserError(f"{run.path}: another {stage} network than that of the model; train the fold with its")
    if folds:
        check_views(config.data, config.classes)


def check_views(settings: Data, classes: Sequence[str]) -> None:
    """Raise a UserError unless training images of every class are kept in all views of a test image."""
    for name in classes:
        missing = set(settings.views.fractions) - set(fractions_for(settings.views, name, "train"))
        if missing:
            raise UserError(
                f"calibration by folds predicts training images as test images, but data.views.rare_fractions lacks "
                f"{min(missing):g}, which data.views.fractions holds; add it and prepare again"
            )


def _check_unseen(run: Run, data: PreparedData, fold: Fold) -> None:
    """Raise a UserError if the starting weights of a run knew the images it left out, or may have."""
    left_out = fold.split(data.split("train"))[1]
    if run.of_unknown_images or run.seen("training").among(left_out):
        raise UserError(
            f"{run.path}: left out fold {fold.number}/{fold.of}, but its starting weights were trained on lesions, "
            "perhaps these; calibrate by networks that started elsewhere, or with calibration.folds=0"
        )


def images_for_ood_score(data: PreparedData) -> dict[str, list[Row]]:
    """Take the training images, evenly spread over the list where there are many, and all validation images."""
    training = data.split("train")
    return {"train": training[:: math.ceil(len(training) / MOST_IMAGES)], "validation": data.split("validation")}


def fit_ood_score(
    core: Core, data: PreparedData, images: dict[str, list[Row]], settings: Data, advance: Advance
) -> OODScorer:
    """Learn what training images look like to the final networks, with limits from validation images."""

    def looks(rows: list[Row]) -> Iterator[ImageFeatures]:
        for batch in _batches(rows):
            inputs = [inputs_of_row(data, row, settings) for row in batch]
            embedding = [each.embedding for each in classify_images(core, inputs, "fast")]
            yield ImageFeatures.at(np.stack(embedding), np.stack([image.patches[0] for image in inputs]))
            advance(len(batch))

    training, held_out = (ImageFeatures.join(list(looks(rows))) for rows in (images["train"], images["validation"]))
    return OODScorer.fit(training, held_out, [row.origin for row in images["train"]])


def _joined(coarse: Run, classifier: Run, device: torch.device) -> Core:
    """Get the networks of two runs ready; enhanced-SN, which is not asked, stays at random."""
    model = MBDCNN(classifier.config.model_copy(update={"coarse": coarse.config.coarse, "ensemble": 1}))
    load_weights(coarse.weights, model.coarse)
    load_weights(classifier.weights, model.classifier)
    return TorchCore(model, device)


def _evaluation_views(data: PreparedData, row: Row, settings: Data) -> Inputs:
    """Read an image with the views it would have outside training, where rare classes have more."""
    assert row.label is not None
    stored = fractions_for(settings.views, data.classes[row.label], row.split)
    wanted = [1 + stored.index(fraction) for fraction in settings.views.fractions]
    places = [0, *wanted, *(len(stored) + place for place in wanted)]
    return inputs_of_row(data, replace(row, views=tuple(row.views[place] for place in places)), settings)


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
