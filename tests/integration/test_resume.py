from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mbdcnn.artifacts import Run, draft_path
from mbdcnn.errors import UserError
from mbdcnn.training import engine
from mbdcnn.training.fit import train

COMPARED = ("best.safetensors", "last.safetensors", "metrics.csv", "ids.json", "config.yaml")


class KilledError(Exception):
    pass


def killer(step: int, error: type[BaseException] = KilledError):
    def progress(done: int, total: int, note: str = "") -> None:
        if done == step:
            raise error

    return progress


@pytest.fixture
def settings(tiny_config):
    lengths = (
        "coarse.training.length=4 epochs",
        "enhanced.training.length=4 epochs",
        "classifier.training.length=10 steps",
        "classifier.balance=0.5",
        "classifier.training.weight_averaging=0.5",
        "coarse.augmentation.brightness=0.3",
    )
    return tiny_config(*lengths)


@pytest.mark.parametrize(("stage", "steps"), [("coarse", (3, 3, 6)), ("classifier", (4, 8)), ("enhanced", (5,))])
def test_a_killed_training_ends_as_an_unbroken_one(data, sources, settings, tmp_path: Path, stage, steps) -> None:
    whole = train(stage, data, tmp_path / "whole", settings, sources)
    for step in steps:
        with pytest.raises(KilledError):
            train(stage, data, tmp_path / "broken", settings, sources, interrupted="resume", progress=killer(step))
        assert not (tmp_path / "broken").exists()
    seen: list[int] = []
    broken = train(
        stage,
        data,
        tmp_path / "broken",
        settings,
        sources,
        interrupted="resume",
        progress=lambda done, total, note="": seen.append(done),
    )
    assert 1 < seen[0] <= steps[-1]
    assert seen == list(range(seen[0], seen[-1] + 1))
    for name in COMPARED:
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert broken.provenance.facts == whole.provenance.facts
    assert not draft_path(tmp_path / "broken").exists()


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("coarse.training.weight_averaging=0.5",),
        (
            "coarse.training.early_stopping=1",
            "coarse.training.learning_rate=1e-20",
            "coarse.training.freeze_batch_norm=true",
        ),
    ],
)
def test_what_fails_after_the_last_step_is_resumed_too(
    data, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    settings = tiny_config("coarse.training.length=4 epochs", *more)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "draw_curves", full)
        with pytest.raises(UserError, match="the disk is full; make room and run again, progress is kept"):
            train("coarse", data, tmp_path / "broken", settings)
    broken = train("coarse", data, tmp_path / "broken", settings, interrupted="resume")
    whole = train("coarse", data, tmp_path / "whole", settings)
    for name in COMPARED:
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert broken.provenance.facts == whole.provenance.facts


def test_an_interrupt_reaches_the_caller_and_keeps_the_run(data, settings, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train("coarse", data, tmp_path / "run", settings, progress=killer(3, KeyboardInterrupt))
    assert signal.getsignal(signal.SIGINT) is handler
    assert (draft_path(tmp_path / "run") / "checkpoints" / "last.ckpt").is_file()


def test_a_mark_that_is_there_is_not_written_again(data, settings, tmp_path: Path) -> None:
    """Emptied by a kill or a full disk, it would give the run up as one of other settings."""
    stopped(data, settings, tmp_path / "run")
    mark = draft_path(tmp_path / "run") / "checkpoints" / "identity"
    before = mark.stat().st_mtime_ns
    with pytest.raises(KilledError):
        train("coarse", data, tmp_path / "run", settings, interrupted="resume", progress=killer(4))
    assert mark.stat().st_mtime_ns == before


def test_a_discarded_run_is_not_gone_on_with_however_much_of_it_is_left(
    data, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: object, **options: object) -> None:
        raise KilledError

    stopped(data, settings, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KilledError):
            train("coarse", data, tmp_path / "run", settings, interrupted="restart")
    seen: list[int] = []
    train(
        "coarse",
        data,
        tmp_path / "run",
        settings,
        interrupted="resume",
        progress=lambda done, total, note="": seen.append(done),
    )
    assert seen[0] == 1


def stopped(data, settings, out: Path, step: int = 3) -> None:
    with pytest.raises(KilledError):
        train("coarse", data, out, settings, progress=killer(step))


def refusal(data, settings, out: Path, interrupted: str) -> str:
    with pytest.raises(UserError) as caught:
        train("coarse", data, out, settings, interrupted=interrupted)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unfinished_run_is_not_touched_unasked(data, settings, tiny_config, tmp_path: Path) -> None:
    stopped(data, settings, tmp_path / "run")
    text = refusal(data, settings, tmp_path / "run", "refuse")
    assert "give --resume to continue it or --overwrite to discard it" in text
    other = tiny_config("seed=5")
    assert "--resume" not in refusal(data, other, tmp_path / "run", "refuse")
    assert "began with other settings" in refusal(data, other, tmp_path / "run", "resume")
    assert (draft_path(tmp_path / "run") / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("interrupted", ["restart", "resume or restart"])
def test_other_settings_start_afresh_where_that_is_wanted(
    data, settings, tiny_config, tmp_path: Path, interrupted
) -> None:
    stopped(data, settings, tmp_path / "run")
    other = tiny_config("coarse.training.length=1 epoch")
    run = train("coarse", data, tmp_path / "run", other, interrupted=interrupted)
    assert run.provenance.facts["steps"] == 2
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 2


def test_what_stopped_before_the_first_checkpoint_is_in_nobodys_way(data, settings, tmp_path: Path) -> None:
    stopped(data, settings, tmp_path / "run", step=1)
    assert train("coarse", data, tmp_path / "run", settings).stage == "coarse"


def test_a_finished_run_of_the_same_is_given_back_and_of_another_is_replaced(
    data, settings, tiny_config, tmp_path: Path
) -> None:
    first = train("coarse", data, tmp_path / "run", settings)
    moved = train("coarse", data, tmp_path / "run", settings, progress=killer(1))
    assert moved.provenance == first.provenance
    stopped(data, tiny_config("seed=7"), tmp_path / "run")
    assert Run.open(tmp_path / "run").provenance == first.provenance
    second = train("coarse", data, tmp_path / "run", tiny_config("seed=7"), interrupted="resume")
    assert second.provenance.fingerprint != first.provenance.fingerprint
