"""What `mbdcnn run` would cost here, by stage: steps and validations timed on a few images, times their number.

Every stage is trained for eight steps, as `train` does it, on generated images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch

from mbdcnn.artifacts import MaskSet, Run
from mbdcnn.config import Config, Training, load_config
from mbdcnn.data.prepare import prepare
from mbdcnn.data.synthetic import generate
from mbdcnn.inference.masks import generate_masks
from mbdcnn.system.device import choose_device, choose_precision
from mbdcnn.training.fit import Sources, Stage, train
from mbdcnn.training.plan import plan
from mbdcnn.training.schedule import total_steps, validation_steps

IMAGES = {"train": 36, "validation": 12}


class Cost(NamedTuple):
    """Seconds that a stage takes."""

    small: float
    """A step while images are small."""
    large: float
    """A step at the networks' own size."""
    validation: float
    """One validated sample."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--training-images", type=int, default=2000)
    parser.add_argument("--validation-images", type=int, default=150)
    options = parser.parse_args()
    config = load_config(options.config, [f"runtime.device={options.device}", "ensemble=1"])
    device = choose_device(options.device)
    print(f"{options.config} on {device}, {torch.get_num_threads()} threads; {options.training_images} training images")
    total = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "raw", IMAGES, (640, 480))
        data = prepare(folder / "raw", folder / "data", config)
        times = options.training_images / IMAGES["train"]
        counts = {planned.stage: 0 for planned in plan(data, config)}
        for planned in plan(data, config):
            counts[planned.stage] += 1
        sources, seconds = Sources(), 0.0
        for stage, trainings in counts.items():
            run, cost, samples, validated = measure(stage, folder, config, sources)
            training: Training = getattr(config, stage).training
            samples, validated = round(samples * times), round(validated * options.validation_images / 12)
            steps = total_steps(training, samples)
            validations = len(validation_steps(training, samples))
            part = training.small_part if training.small_side else 0.0
            seconds = steps * (part * cost.small + (1 - part) * cost.large) + validations * validated * cost.validation
            total += trainings * seconds
            precision = choose_precision(training.precision, device)
            print(
                f"{stage}, {precision}: {trainings} x {steps} steps of {cost.small:.2f} and {cost.large:.2f} s,"
                f" {validations} validations of {validated * cost.validation:.1f} s: {trainings * seconds / 3600:.1f} h"
            )
            if stage == "coarse":
                start = time.perf_counter()
                masks = generate_masks(run, data, folder / "masks", device=options.device)
                patches = masks.provenance.facts["patches"]
                each = (time.perf_counter() - start) / patches
                every = each * patches * times
                total += every
                print(f"coarse masks: {each:.3f} s a patch: {every / 3600:.1f} h")
                sources = Sources(masks=MaskSet.open(folder / "masks"), coarse=run)
            elif stage == "classifier":
                sources = Sources(sources.masks, sources.coarse, run)
    print(f"all training: {total / 3600:.1f} h, {total / 86400:.1f} days")


def measure(stage: Stage, folder: Path, config: Config, sources: Sources) -> tuple[Run, Cost, int, int]:
    """Train a stage for eight steps: the run, its cost, and how many samples it trained on and validated."""
    from mbdcnn.artifacts import PreparedData
    from mbdcnn.training.fit import _assemble

    short = Config.model_validate(config.model_dump() | {stage: _shortened(getattr(config, stage).model_dump())})
    moments: list[float] = []

    def note(done: int, total: int, text: str = "") -> None:
        moments.append(time.perf_counter())

    data = PreparedData.open(folder / "data")
    run = train(stage, data, folder / stage, short, sources, progress=note)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    small, large = min(gaps[0], gaps[2]), min(gaps[4], gaps[6])
    assembly = _assemble(stage, data, short, sources, None, None)
    validated = len(assembly.validation)
    return run, Cost(small, large, max(0.0, gaps[5] - large) / validated), len(assembly.samples), validated


def _shortened(section: dict[str, object]) -> dict[str, object]:
    changes: Sequence[tuple[str, object]] = [
        ("length", "8 steps"),
        ("validate_every", "2 steps"),
        ("validate_from", 0),
        ("small_part", 0.5),
    ]
    training = section["training"]
    assert isinstance(training, dict)
    return section | {"training": training | dict(changes)}


if __name__ == "__main__":
    main()
