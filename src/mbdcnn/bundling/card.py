"""The model card of a bundle, `README.md`: what it is, how it was made, how well it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mbdcnn.artifacts.calibration import Calibration, Estimate
from mbdcnn.config import ClassificationNetwork, Config, SegmentationNetwork

UNMEASURED = "Not measured yet: score the model on images it has not met with `mbdcnn evaluate`."
"""Stands where results go."""

HEADER = """---
library_name: mbdcnn
pipeline_tag: image-segmentation
tags: [dermoscopy, skin-lesion, image-segmentation, image-classification]
---

# MB-DCNN model

Outlines the lesion of a dermoscopy image and gives the probability of {classes}. For research and education. **Not a
medical device.**

```python
from mbdcnn import Predictor

prediction = Predictor.from_pretrained("this folder, or its name on the hub").predict("lesion.jpg")
```

## How it was made

| network | encoder | training images | best on validation |
|---|---|---|---|
{networks}

The validation scores chose the weights and so flatter. Input: {side} x {side} pixels. Activation maps: {cam}. Weights
in {precision} precision.

## Results

{unmeasured}

## Probabilities

{probabilities}

## Unusual pictures

{familiarity}

## Limits

Trained on dermoscopy images: photographs taken without a dermatoscope are not what it knows. Lesions of other kinds
than {classes} are given one of these classes all the same. Training sets of dermoscopy hold few pictures of dark skin,
so it may do worse there. A decision about a person must not rest on it.
"""


def model_card(config: Config, facts: Mapping[str, Any]) -> str:
    """Write the card of a bundle from its configuration and the facts recorded in it; results come later."""
    return HEADER.format(
        classes=", ".join(_words(name) for name in config.classes),
        networks="\n".join(_networks(config, facts)),
        side=config.data.image_size,
        cam=config.cam,
        precision="half" if facts.get("half") else "full",
        unmeasured=UNMEASURED,
        probabilities=_probabilities(facts.get("calibration", {})),
        familiarity=_familiarity(facts.get("familiarity")),
    )


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
        rows += [(f"AUC, {_words(name)}", of_class["auc"]) for name, of_class in classification["classes"].items()]
    table = [f"On {title}, with 95 % intervals:", "", "| score | |", "|---|---|"]
    table += [f"| {name} | {_interval(estimate)} |" for name, estimate in rows]
    return card.replace(UNMEASURED, "\n".join(table), 1)


def _networks(config: Config, facts: Mapping[str, Any]) -> Iterator[str]:
    yield _network("coarse", config.coarse.network, facts["coarse"])
    members = facts.get("committee", [])
    for number, member in enumerate(members, start=1):
        yield _network(f"classifier, {number} of {len(members)} averaged", config.classifier.network, member)
    if not members:
        yield _network("classifier", config.classifier.network, facts["classifier"])
    yield _network("enhanced", config.enhanced.network, facts["enhanced"])


def _network(name: str, network: SegmentationNetwork | ClassificationNetwork, of_stage: Mapping[str, Any]) -> str:
    if "file" in of_stage:
        training = f"not known | imported: {of_stage['imported']}"
    else:
        training = f"{of_stage['training_images']} | {of_stage['score'].replace('_', ' ')} {of_stage['best']:.3f}"
        if "imported" in of_stage:
            training += f", started from {of_stage['imported']}, trained on lesions that are not known"
    return f"| {name} | {network.backbone}, width {network.width:g} | {training} |"


def _probabilities(calibrations: Mapping[str, Any]) -> str:
    if not calibrations:
        return "The networks' own, not calibrated."
    lines = []
    for protocol, facts in calibrations.items():
        calibration = Calibration.model_validate(facts)
        lines.append(
            f"Protocol `{protocol}`: temperature {calibration.temperature:.2f}, fitted to {calibration.images} "
            f"{calibration.source}."
        )
        if calibration.note:
            lines[-1] += f" There are {calibration.note}."
        if calibration.operating_points:
            lines += ["", "| operating point | threshold | sensitivity | specificity |", "|---|---|---|---|"]
        lines += [
            f"| {point.name} | {_range(Estimate(point.threshold, *point.threshold_interval))} "
            f"| {_range(point.sensitivity)} | {_range(point.specificity)} |"
            for point in calibration.operating_points
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


def _familiarity(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "Not recognised."
    return (
        f"A picture is flagged if it is stranger to the model than 99 % of {facts['training_images']} training and "
        f"{facts['held_out_images']} validation images are."
    )


def _range(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _interval(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "not applicable"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return _range(Estimate(estimate["value"], estimate["low"], estimate["high"]))


def _words(name: str) -> str:
    return name.replace("_", " ")
