"""What a run will train, and about how long that takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mbdcnn.artifacts import PreparedData
from mbdcnn.config import Config, Training
from mbdcnn.data.folds import Fold
from mbdcnn.system.progress import Progress
from mbdcnn.training.fit import Stage
from mbdcnn.training.schedule import classification_rows, segmentation_rows, total_steps

Say = Callable[[str], None]
"""Tells the user a line."""
MEASURED = 10
"""Steps after the first, which is slower, that an estimate is made from."""


@dataclass(frozen=True)
class Planned:
    """A training to come."""

    stage: Stage
    fold: Fold | None
    steps: int
    images: int
    """Looked at in all its steps."""


def plan(data: PreparedData, config: Config) -> list[Planned]:
    """List the trainings of a run in their order."""
    masks, count = config.coarse.folds, config.calibration.folds
    # An ensemble is of the networks of folds: none is then trained on all images.
    alone: list[Fold | None] = [None] if config.ensemble == 1 else []
    folds: dict[Stage, list[Fold | None]] = {
        "coarse": [None, *(Fold(number, masks) for number in range(masks))],
        "classifier": [*(Fold(number, count) for number in range(count)), *alone],
        "enhanced": [None],
    }
    return [_planned(stage, fold, data, config) for stage, each in folds.items() for fold in each]


def plan_lines(trainings: list[Planned], data: PreparedData) -> list[str]:
    """Say what will be done."""
    splits = Counter(row.split for row in data.rows)
    images = ", ".join(f"{number} {name}" for name, number in splits.items())
    stages = []
    for stage in dict.fromkeys(each.stage for each in trainings):
        of_stage = [each for each in trainings if each.stage == stage]
        times = f"{len(of_stage)} times " if len(of_stage) > 1 else ""
        stages.append(f"{stage} {times}{of_stage[0].steps} steps")
    return [
        f"{len(data.rows)} images: {images}",
        f"to train, each where it is not there yet: {', '.join(stages)}; then the model is put together and scored",
    ]


class Pace:
    """Tells once, from the first steps of the first training, about how long all trainings take.

    Args:
        trainings: all, in order.
        say: told the line.
        clock: gives seconds.
    """

    def __init__(self, trainings: list[Planned], say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self.trainings, self.say, self.clock = trainings, say, clock
        self.told = False

    def watch(self, stage: Stage, fold: Fold | None, progress: Progress) -> Progress:
        """Give a progress that passes on what it is told."""
        position = next(i for i, each in enumerate(self.trainings) if (each.stage, each.fold) == (stage, fold))
        began: tuple[int, float] | None = None

        def watched(done: int, total: int, note: str = "") -> None:
            nonlocal began
            began = began or (done, self.clock())
            if not self.told and done - began[0] >= MEASURED:
                self.told = True
                self.say(self._estimate(position, done, (self.clock() - began[1]) / (done - began[0])))
            progress(done, total, note)

        return watched

    def _estimate(self, position: int, done: int, seconds: float) -> str:
        now, *later = self.trainings[position:]
        a_step = now.images / now.steps
        images = (now.steps - done) * a_step + sum(each.images for each in later)
        return (
            f"at the speed of the first steps, all training takes about {duration(images / a_step * seconds)}, and "
            "validation beside it; the networks differ"
        )


def duration(seconds: float) -> str:
    """Put seconds into words."""
    minutes = round(seconds / 60)
    if minutes <= 1:
        return "a minute"
    if minutes < 100:
        return f"{minutes} minutes"
    hours = round(minutes / 60)
    return f"{hours} hours" if hours < 72 else f"{round(hours / 24)} days"


def _planned(stage: Stage, fold: Fold | None, data: PreparedData, config: Config) -> Planned:
    section = getattr(config, stage)
    training: Training = section.training
    if stage == "classifier":
        rows = classification_rows(data, "train", fold)
        samples = sum(len(row.views) if section.crops else 1 for row in rows)
    else:
        samples = len(segmentation_rows(data, "train", fold))
    steps = total_steps(training, samples)
    return Planned(stage, fold, steps, steps * min(training.batch_size, samples))
