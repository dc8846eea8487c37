"""The model card of a bundle, `README.md`: what it is, how it was made, how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from mbdcnn.artifacts.calibration import Calibration
from mbdcnn.config import ClassificationNetwork, Config, SegmentationNetwork
from mbdcnn.inference.answer import words
from mbdcnn.system.templates import render

UNMEASURED = "Not measured yet: score the model on images it has not met with `mbdcnn evaluate`."
"""Stands where results go."""

Network: TypeAlias = SegmentationNetwork | ClassificationNetwork


def model_card(config: Config, facts: Mapping[str, Any]) -> str:
    """Write the card of a bundle from its configuration and the facts recorded in it; results come later."""
    calibrations = {
        protocol: Calibration.model_validate(given) for protocol, given in facts.get("calibration", {}).items()
    }
    values = {
        "config": config,
        "facts": facts,
        "networks": list(_networks(config, facts)),
        "calibrations": calibrations,
        "out_of_distribution": facts.get("out_of_distribution"),
        "unmeasured": UNMEASURED,
        "words": words,
        "range": _range,
    }
    return render("mbdcnn.bundling", "card.md.j2", values)


def with_results(card: str, title: str, metrics: Mapping[str, Any]) -> str:
    """Put a report's headline into a card in which nothing stands there yet; any other card is given back as it is."""
    rows = []
    for network in ("coarse", "enhanced"):
        of_network = (metrics.get("segmentation") or {}).get(network)
        if of_network:
            rows += [(f"{network}-SN, {score}", of_network[score]) for score in ("jaccard", "dice")]
    classification = metrics.get("classification")
    if classification:
        rows.append(("mean AUC", classification["mean_auc"]))
        rows += [(f"AUC, {words(name)}", of_class["auc"]) for name, of_class in classification["classes"].items()]
    table = [f"On {title}, with 95 % intervals:", "", "| score | |", "|---|---|"]
    table += [f"| {name} | {_interval(estimate)} |" for name, estimate in rows]
    return card.replace(UNMEASURED, "\n".join(table), 1)


def _networks(config: Config, facts: Mapping[str, Any]) -> Iterator[tuple[str, Network, Mapping[str, Any]]]:
    """Give name and settings of each network, and what its training recorded."""
    yield "coarse", config.coarse.network, facts["coarse"]
    members = facts.get("ensemble", [])
    for number, member in enumerate(members, start=1):
        yield f"classifier, {number} of {len(members)} averaged", config.classifier.network, member
    if not members:
        yield "classifier", config.classifier.network, facts["classifier"]
    yield "enhanced", config.enhanced.network, facts["enhanced"]


def _range(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "not applicable"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return _range(estimate["value"], estimate["low"], estimate["high"])
