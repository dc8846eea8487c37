"""Where a network's starting weights come from, and what is known of the images behind them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mbdcnn.artifacts import Bundle, Run
from mbdcnn.artifacts.builtin import bundled_model
from mbdcnn.config import Config
from mbdcnn.errors import UserError
from mbdcnn.models import EnhancedSegmenter
from mbdcnn.models.checkpoints import Network
from mbdcnn.models.weights import import_weights, read_state_dict
from mbdcnn.types import Images

LESION_NETWORKS = ("mbdcnn's", "the MB-DCNN authors'")
"""Kinds of checkpoint that were trained on lesions, perhaps on the very images of an evaluation."""


@dataclass(frozen=True)
class Start:
    """Starting weights, and the hashed ids of the images they were trained and selected on."""

    weights: Path
    training: frozenset[str] = frozenset()
    selection: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    """`imported`, where the images behind them are not known."""


def find_start(stage: str, config: Config) -> Start | None:
    """Look up the starting weights that a configuration names; None where it names none.

    Raises:
        UserError: they are not there.
    """
    given: str | None = getattr(getattr(config, stage), "initial_weights", None)
    if given is None:
        return None
    path = bundled_model() if given == "bundled" else Path(given)
    if (path / Run.filename).is_file():
        run = Run.open(path, verify=True)
        facts = {name: run.provenance.facts[name] for name in ("imported",) if name in run.provenance.facts}
        return Start(run.weights, frozenset(run.ids("training")), frozenset(run.ids("selection")), facts)
    if (path / Bundle.filename).is_file():
        bundle = Bundle.open(path, verify=True)
        facts = {"imported": str(path)} if bundle.imported else {}
        return Start(
            bundle.weights(stage), frozenset(bundle.ids("training")), frozenset(bundle.ids("selection")), facts
        )
    if not path.is_file():
        raise UserError(f"{stage}.initial_weights: {path}: no such file, run or bundle")
    return Start(path)


def start_network(network: Network, start: Start) -> dict[str, Any]:
    """Fill a network from its starting weights.

    Returns:
        Facts for the run: every tensor dropped or left at initialisation, and whether the images are unknown.

    Raises:
        UserError: the weights do not fit.
    """
    log = logging.getLogger("mbdcnn")
    report = import_weights(start.weights, network)
    log.info("%s: %s", start.weights, report.summary())
    gaps = [name for name in report.initial if name.startswith("encoder.")]
    if gaps:
        log.warning("%s: %d tensors of the encoder, such as %s, start at random", start.weights, len(gaps), gaps[0])
    facts: dict[str, Any] = {
        "starting_weights": {
            "source": report.source,
            "used": len(report.used),
            "dropped": report.dropped,
            "initial": list(report.initial),
        }
    }
    if start.facts or (not start.training and report.source.startswith(LESION_NETWORKS)):
        facts["imported"] = start.facts.get("imported", report.source)
    return facts


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
def pass_features_on(network: EnhancedSegmenter, images: Images) -> None:
    """Make the layer that mixes in the activation map the identity, up to what batch norm then makes of a batch.

    Batch norm gets the features' own mean and spread, as scale and as statistics, so it undoes itself; the weights of
    the activation map start at 0 and learn.

    Args:
        network: enhanced-SN with coarse-SN's weights.
        images: some training pictures.
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
    for target, values in (
        (norm.running_mean, mean),
        (norm.running_var, variance),
        (norm.bias, mean),
        (norm.weight, (variance + norm.eps).sqrt()),
    ):
        target.copy_(values)
    network.train()
