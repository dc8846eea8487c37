"""What `mbdcnn run` would train here, by stage: steps, validations and masks timed on a few images, times their number.

Every stage is trained for eight steps, as `train` does it, on generated images. With `--check` every network is then
trained for a part of its steps on fewer images, with their coarse masks, and held against the projection.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mbdcnn.artifacts import MaskSet, PreparedData, Run
from mbdcnn.config import Config, Training, load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.inference.masks import BATCH, coarse_network
from mbdcnn.inference.protocol import six_view_masks
from mbdcnn.pipeline import _Trainer
from mbdcnn.system.device import choose_device, choose_precision
from mbdcnn.system.progress import Progress, silent
from mbdcnn.training.fit import Sources, Stage, _assemble, train
from mbdcnn.training.plan import Pace, Planned, plan
from mbdcnn.training.schedule import total_steps, validation_steps

IMAGES = {"train": 36, "validation": 12}
MASKED = min(BATCH, 8)
"""Patches that a coarse mask is timed on."""


class Cost(NamedTuple):
    """Seconds of a stage's parts, and how many samples IMAGES came to."""

    small: float
    """A step while images are small."""
    large: float
    """A step at the networks' own size."""
    validation: float
    """One validated sample."""
    samples: int
    validated: int


class Costs(NamedTuple):
    """All that a projection is made from."""

    stages: Mapping[Stage, Cost]
    mask: float
    """Seconds of one patch's coarse mask."""
    patches: int
    trainings: Sequence[Planned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--training-images", type=int, default=2000)
    parser.add_argument("--validation-images", type=int, default=150)
    parser.add_argument("--check", type=float, metavar="PART", help="train for so much of the steps, such as 0.01")
    options = parser.parse_args()
    config = load_config(options.config, [f"runtime.device={options.device}"])
    device = choose_device(options.device)
    print(f"{options.config} on {device}, {torch.get_num_threads()} threads; {options.training_images} training images")
    with tempfile.TemporaryDirectory() as name:
        costs = measure(Path(name), config)
    images = {"train": options.training_images, "validation": options.validation_images}
    total = 0.0
    for text, seconds in project(costs, config, images):
        print(f"{text}: {seconds / 3600:.2f} h", flush=True)
        total += seconds
    print(f"all training: {total / 3600:.1f} h, {total / 86400:.1f} days", flush=True)
    if options.check:
        check(costs, config, images, options.check)


def check(costs: Costs, config: Config, images: Mapping[str, int], part: float) -> None:
    """Train for a part of each training's steps, with one validation, and print what that took beside its projection.

    On about a hundredth of the images, enough that those outside a fold fill a batch.
    """
    fewer = {"train": max(32, images["train"] // 100), "validation": max(8, images["validation"] // 100)}
    short = config
    for stage, cost in costs.stages.items():
        steps = total_steps(getattr(config, stage).training, scaled(cost.samples, images, "train"))
        length = f"{max(8, round(steps * part))} steps"
        short = changed(short, stage, length=length, validate_every=length, validate_from=0)
    rows = list(project(costs, short, fewer))
    with tempfile.TemporaryDirectory() as name:
        taken = run(Path(name), short, fewer)
    for (text, seconds), (title, real) in zip(rows, taken.items(), strict=True):
        print(f"{title}: {real:.0f} s, projected {seconds:.0f} s ({text})")
    print(f"{part:g} of the schedule, {fewer['train']} images: {sum(taken.values()):.0f} s,", end=" ")
    print(f"projected {sum(seconds for _, seconds in rows):.0f} s")


def measure(folder: Path, config: Config) -> Costs:
    """Train every stage for eight steps on IMAGES."""
    generate(folder / "raw", IMAGES, (640, 480))
    data = prepare(folder / "raw", folder / "data", config)
    stages: dict[Stage, Cost] = {}
    coarse, stages["coarse"] = measure_stage("coarse", data, folder, config, Sources())
    mask = measure_masks(coarse, data, config)
    # What the masks show changes no time.
    with MaskSet.writing(folder / "masks", {}, {"data": data.provenance.fingerprint}) as draft:
        side = data.patches.shape[1]
        np.save(draft.path / "patches.npy", np.zeros((len(data.patches), side, side // 8), np.uint8))
        draft.facts |= {"patches": len(data.patches), "folds": 0}
    sources = Sources(MaskSet.open(folder / "masks"), coarse)
    classifier, stages["classifier"] = measure_stage("classifier", data, folder, config, sources)
    sources = Sources(sources.masks, coarse, classifier)
    stages["enhanced"] = measure_stage("enhanced", data, folder, config, sources)[1]
    return Costs(stages, mask, len(data.patches), plan(data, config))


def measure_stage(stage: Stage, data: PreparedData, folder: Path, config: Config, sources: Sources) -> tuple[Run, Cost]:
    """Train a stage for eight steps, validating after every second: the run and its cost."""
    short = changed(config, stage, length="8 steps", validate_every="2 steps", validate_from=0, small_part=0.5)
    moments: list[float] = []
    run = train(stage, data, folder / stage, short, sources, progress=lambda *_: moments.append(time.perf_counter()))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    small, large = min(gaps[0], gaps[2]), min(gaps[4], gaps[6])
    assembly = _assemble(stage, data, short, sources, None, None)
    validated = len(assembly.validation)
    validation = max(0.0, gaps[5] - large) / validated
    return run, Cost(small, large, validation, len(assembly.samples), validated)


def measure_masks(run: Run, data: PreparedData, config: Config) -> float:
    """Seconds of one patch's coarse mask."""
    network, patches = coarse_network(run, config.runtime.device), data.patches[:MASKED]
    six_view_masks(network, patches[:1])
    start = time.perf_counter()
    six_view_masks(network, patches)
    return (time.perf_counter() - start) / len(patches)


def project(costs: Costs, config: Config, images: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    """Give a line and the seconds of each stage, and of the coarse masks after the first."""
    for stage, cost in costs.stages.items():
        training: Training = getattr(config, stage).training
        validated = scaled(cost.validated, images, "validation")
        seconds, steps_of_each = 0.0, []
        for fold in [training.fold for training in costs.trainings if training.stage == stage]:
            samples = scaled(cost.samples, images, "train")
            samples -= round(samples / fold.of) if fold else 0
            steps, validations = total_steps(training, samples), len(validation_steps(training, samples))
            small = round(training.small_part * steps) if training.small_side else 0
            seconds += small * cost.small + (steps - small) * cost.large + validations * validated * cost.validation
            steps_of_each.append(str(steps))
        precision = choose_precision(training.precision, choose_device(config.runtime.device))
        yield (
            f"{stage}, {precision}: {' + '.join(steps_of_each)} steps of {cost.small:.2f} and {cost.large:.2f} s,"
            f" a validation {validated * cost.validation:.1f} s",
            seconds,
        )
        if stage == "coarse":
            patches = round(costs.patches * sum(images.values()) / sum(IMAGES.values()))
            yield f"coarse masks of {patches} patches, {costs.mask:.3f} s each", patches * costs.mask


def scaled(samples: int, images: Mapping[str, int], split: str) -> int:
    """Samples of more images, from those of IMAGES."""
    return round(samples * images[split] / IMAGES[split])


def run(folder: Path, config: Config, images: Mapping[str, int]) -> dict[str, float]:
    """Train all that a run trains, by the run's own hand: seconds of each stage, in the projection's order."""
    generate(folder / "raw", images, (640, 480))
    data = prepare(folder / "raw", folder / "data", config)
    taken: dict[str, float] = {}

    @contextmanager
    def timed(title: str) -> Iterator[Progress]:
        start = time.perf_counter()
        yield silent
        stage = title.partition(",")[0].removeprefix("train ")
        taken[stage] = taken.get(stage, 0.0) + time.perf_counter() - start

    _Trainer(data, folder, config, True, timed, Pace(plan(data, config), lambda line: None)).train_all()
    return taken


def changed(config: Config, stage: Stage, **settings: Any) -> Config:
    """Give the configuration with other settings for a stage's training."""
    section = getattr(config, stage).model_dump()
    section = section | {"training": section["training"] | settings}
    return Config.model_validate(config.model_dump() | {stage: section})


if __name__ == "__main__":
    main()
