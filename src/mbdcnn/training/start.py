"""Where a network's starting weights come from, and what is known of the images behind them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mbdcnn.artifacts import Bundle, PreparedData, Run
from mbdcnn.artifacts.builtin import find_bundle
from mbdcnn.artifacts.seen import NOTHING, Seen
from mbdcnn.config import Config
from mbdcnn.errors import UserError
from mbdcnn.models import EnhancedSegmenter
from mbdcnn.models.checkpoints import Network
from mbdcnn.models.weights import identify_file, import_weights, read_state_dict
from mbdcnn.types import Images


@dataclass(frozen=True)
class Start:
    """Starting weights, and the images they were trained and selected on."""

    weights: Path
    training: Seen = NOTHING
    selection: Seen = NOTHING
    unknown: str | None = None
    """What was trained on lesions that are not known, perhaps those of an evaluation; None where there is no such."""


def find_start(stage: str, config: Config) -> Start | None:
    """Look up the starting weights that a configuration names; None where it names none.

    Raises:
        UserError: they are not there, or of no known kind; or `bundled` names a model here too.
    """
    given: str | None = getattr(getattr(config, stage), "initial_weights", None)
    if given is None:
        return None
    path = find_bundle(given)
    # A file of weights may be of the run or bundle that it lies in, which knows its images.
    file, folder = (path, path.parent) if path.is_file() else (None, path)
    if (folder / Run.filename).is_file():
        run = Run.open(folder, verify=True)
        if file is None or file.name in run.provenance.files:
            return Start(file or run.weights, run.seen("training"), run.seen("selection"), run.of_unknown_images)
    elif (folder / Bundle.filename).is_file():
        bundle = Bundle.open(folder, verify=True)
        if file is None or file.name in bundle.provenance.files:
            unknown = str(folder) if bundle.imported else None
            return Start(file or bundle.weights(stage), bundle.seen("training"), bundle.seen("selection"), unknown)
    if file is None:
        raise UserError(f"{stage}.initial_weights: {path}: no such file, run or bundle")
    source = identify_file(path)
    return Start(path, unknown=source.name if source.trained_on_lesions else None)


def check_start(stage: str, data: PreparedData, config: Config, *, allow_overlap: bool) -> None:
    """Raise a UserError if starting weights know images that their network is to be judged on."""
    start = find_start(stage, config)
    if start is None:
        return
    known = start.training.among(row for row in data.rows if row.split != "train")
    if known and not allow_overlap:
        raise UserError(
            f"{stage}.initial_weights: {start.weights}: trained on {len(known)} of the validation and test images, "
            f"such as {known[0].id}, so scores would say little about new images; start from other weights, or run "
            "with --allow-overlap to continue all the same"
        )
    folds, without = {
        "coarse": (config.coarse.folds, "--set coarse.folds=0"),
        "classifier": (config.calibration.folds, "--set calibration.folds=0 --set ensemble=1"),
        "enhanced": (0, ""),
    }[stage]
    if folds and (start.unknown or start.training.among(data.split("train"))):
        raise UserError(
            f"{stage}.initial_weights: {start.weights}: trained on lesions, perhaps these, so no network would be "
            f"without the images of a fold; give {without}, or other weights"
        )


def initialise(
    network: Network, config: Config, start: Start | None, coarse: Run | None, images: Callable[[], Images]
) -> dict[str, Any]:
    """Give a network its first weights: those that are named, for enhanced-SN else coarse-SN's, or random ones.

    Args:
        network: with random weights.
        config: classes, and how enhanced-SN starts.
        start: the starting weights that the configuration names.
        coarse: what enhanced-SN starts as where none are named.
        images: some training images, to see what features there are.

    Returns:
        Facts for the run: every tensor dropped or left at initialisation, and whether images are not known.

    Raises:
        UserError: the weights do not fit, or hold what the configuration says how to begin.
    """
    facts = {} if start is None else _fill(network, config.classes, start)
    if not isinstance(network, EnhancedSegmenter):
        return facts
    if start is None:
        assert coarse is not None
        continue_from_coarse(network, coarse)
    if (how := config.enhanced.guidance_start) != "random":
        if start is not None and not any(name.startswith("guidance.") for name in facts["starting_weights"]["initial"]):
            raise UserError(
                f"{start.weights}: holds the layer that mixes in the activation map, which the start '{how}' would "
                "undo; give --set enhanced.guidance_start=random to begin with the file's"
            )
        pass_features_on(network, images(), draw_map=how == "mixed")
    return facts


def _fill(network: Network, classes: Sequence[str], start: Start) -> dict[str, Any]:
    log = logging.getLogger("mbdcnn")
    report = import_weights(start.weights, network, classes)
    log.info("%s: %s", start.weights, report.summary())
    if report.head is not None and not report.head.whole:
        log.warning("%s: %s", start.weights, report.head.summary())
    gaps = [name for name in report.initial if name.startswith("encoder.")]
    if gaps:
        log.warning("%s: %d tensors of the encoder, such as %s, start at random", start.weights, len(gaps), gaps[0])
    told: dict[str, Any] = {
        "source": report.source,
        "used": len(report.used),
        "dropped": report.dropped,
        "initial": list(report.initial),
    }
    if report.head is not None:
        told["head"] = vars(report.head)
    return {"starting_weights": told} | ({} if start.unknown is None else {"imported": start.unknown})


def continue_from_coarse(network: Network, coarse: Run) -> None:
    """Start enhanced-SN as coarse-SN, all but the layer that mixes in the activation map.

    Raises:
        UserError: the two networks have other sizes.
    """
    own, given = network.state_dict(), read_state_dict(coarse.weights)
    fitting = [name for name in own if name in given and given[name].shape == own[name].shape]
    gaps = [name for name in own if name not in fitting and not name.startswith("guidance.")]
    for name in () if gaps else fitting:
        own[name].copy_(given[name])
    if gaps:
        raise UserError(
            f"{coarse.path}: enhanced-SN starts as this network, but {gaps[0]} does not fit; "
            "give enhanced.network the settings of coarse.network"
        )


@torch.no_grad()
def pass_features_on(network: EnhancedSegmenter, images: Images, *, draw_map: bool = False) -> None:
    """Make the layer that mixes in the activation map the identity, up to what batch norm then makes of a batch.

    Batch norm gets the features' own mean and spread, as scale and as statistics, so it undoes itself; the weights of
    the activation map start at 0 and learn, unless they are drawn.

    Args:
        network: enhanced-SN with coarse-SN's weights.
        images: some training images.
        draw_map: draw the weights of the activation map, 1 in which moves each feature by about its spread.
    """
    network.eval()
    features = network.pyramid(network.encoder(network.normalize(images)).high_level)
    conv, norm, _ = network.guidance
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    conv.weight.copy_(torch.eye(conv.out_channels, conv.in_channels)[:, :, None, None])
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.bias.zero_()
    variance, mean = torch.var_mean(features, (0, 2, 3), correction=0)
    if draw_map:
        conv.weight[:, -1] = (torch.randn_like(variance) * variance.sqrt())[:, None, None]
    for target, values in (
        (norm.running_mean, mean),
        (norm.running_var, variance),
        (norm.bias, mean),
        (norm.weight, (variance + norm.eps).sqrt()),
    ):
        target.copy_(values)
    network.train()
