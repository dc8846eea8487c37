"""What is said of a run before and while it trains."""

from __future__ import annotations

import pytest

from mbdcnn.artifacts import Run
from mbdcnn.data.folds import Fold
from mbdcnn.training.plan import MEASURED, Pace, Planned, duration, plan, plan_lines

COARSE = Planned("coarse", None, 100, 800)
CLASSIFIER = Planned("classifier", Fold(0, 2), 50, 1600)


def test_the_plan_is_what_a_run_trains(experiment, data) -> None:
    trainings = plan(data, experiment.config)
    names = [each.stage + (f"-fold{each.fold.number}" if each.fold else "") for each in trainings]
    assert sorted(names) == sorted(file.name for file in (experiment.out / "runs").iterdir())
    folds = ["coarse-fold0", "coarse-fold1", "classifier-fold0", "classifier-fold1"]
    assert names == ["coarse", *folds, "classifier", "enhanced"]
    for name, each in zip(names, trainings, strict=True):
        assert each.steps == Run.open(experiment.out / "runs" / name).provenance.facts["steps"]


def test_an_ensemble_has_no_network_of_all_images(tiny_config, data) -> None:
    trainings = plan(data, tiny_config("ensemble=2"))
    assert [each.fold for each in trainings if each.stage == "classifier"] == [Fold(0, 2), Fold(1, 2)]


def test_the_plan_is_said(experiment, data) -> None:
    images, trainings = plan_lines(plan(data, experiment.config), data)
    assert images == "28 images: 16 train, 8 validation, 4 test"
    assert "coarse 3 times 6 steps, classifier 3 times 7 steps, enhanced 6 steps" in trainings


def test_the_time_is_told_once_from_the_first_steps() -> None:
    said: list[str] = []
    now = 0.0
    passed: list[int] = []
    pace = Pace([COARSE, CLASSIFIER], said.append, lambda: now)
    progress = pace.watch("coarse", None, lambda done, total, note="": passed.append(done))
    for step in range(1, 31):
        now = 60.0 * step
        progress(step, 100)
        assert bool(said) == (step > MEASURED)
    assert passed == [*range(1, 31)]
    # 89 steps of 8 images, and 1600 images: a minute for 8.
    assert said == [said[0]]
    assert "all training takes about 5 hours" in said[0]
    pace.watch("classifier", Fold(0, 2), lambda done, total, note="": None)(40, 50)
    assert len(said) == 1


def test_a_resumed_training_counts_from_where_it_goes_on() -> None:
    said: list[str] = []
    now = 0.0
    progress = Pace([COARSE], said.append, lambda: now).watch("coarse", None, lambda done, total, note="": None)
    for step in range(50, 61):
        now = 60.0 * (step - 50)
        progress(step, 100)
    assert "about 40 minutes" in said[0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "a minute"), (61, "a minute"), (1200, "20 minutes"), (8000, "2 hours"), (400_000, "5 days")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert duration(seconds).endswith(words)
