"""The learning rate of every kind of step, against the authors' schedule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbdcnn.config import load_config
from mbdcnn.training.optim import polynomial
from mbdcnn.training.schedule import validation_steps

GOLDEN = json.loads((Path(__file__).parent / "protocol.json").read_text())["poly_lr"]


@pytest.mark.parametrize("step", GOLDEN["values"])
def test_learning_rate(step: str) -> None:
    settings = load_config("paper").classifier.training
    assert settings.length == f"{GOLDEN['max_iter']} steps"
    factor = polynomial(int(step), steps=GOLDEN["max_iter"], power=settings.poly_power)
    assert settings.learning_rate * factor == pytest.approx(GOLDEN["values"][step], rel=1e-9)


def test_mask_cn_is_validated_after_the_same_steps() -> None:
    settings = load_config("paper").classifier.training
    # Theirs, counted from 0: after every hundredth above 500.
    theirs = [number + 1 for number in range(GOLDEN["max_iter"]) if number > 500 and number % 100 == 0]
    assert theirs[0] == 601
    assert validation_steps(settings, samples=20_000) == theirs
