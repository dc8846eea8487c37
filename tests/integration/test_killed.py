"""A few kills and signals of what `tests/soak/test_kill.py` tries at many moments."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from faults import Killing, Processes, writing_commands


@pytest.mark.parametrize("name", ["coarse", "prepare", "predict"])
def test_what_was_killed_and_given_again_ends_as_if_nothing_had_been(
    name: str, processes: Processes, experiment, raw: Path, config_file: Path, tmp_path: Path
) -> None:
    killing = Killing(processes, writing_commands(experiment, raw, config_file)[name], tmp_path)
    in_time, before_a_change = killing.moments(1, 1, seed=1)
    killing.kill(in_time, over_earlier=True)
    killing.kill(before_a_change)
    assert killing.kills


def test_a_training_that_is_stopped_says_how_to_go_on(
    processes: Processes, experiment, raw: Path, config_file: Path, tmp_path: Path
) -> None:
    killing = Killing(processes, writing_commands(experiment, raw, config_file)["coarse"], tmp_path)
    for share, number, code, saying in (
        (0.02, signal.SIGINT, 130, "there was no checkpoint yet, which comes with the first validation"),
        (0.8, signal.SIGTERM, 143, "run the same command with --resume to go back to the last checkpoint"),
    ):
        killing.clear()
        moment = {"before": 1 + int(share * killing.whole.changes), "folder": str(tmp_path), "signal": number}
        stopped = killing.run(killing.command.arguments(killing.place), **moment)
        assert stopped.code == code, stopped.output
        assert stopped.output == f"mbdcnn: stopped; {saying}\n"
        assert not killing.place.exists()
    assert (tmp_path / ".place.partial" / "checkpoints" / "last.ckpt").is_file()
    killing.finish(moment)


@pytest.mark.parametrize("name", ["prepare", "predict"])
def test_what_is_stopped_leaves_nothing_half_done(
    name: str, processes: Processes, experiment, raw: Path, config_file: Path, tmp_path: Path
) -> None:
    command = writing_commands(experiment, raw, config_file)[name]
    stopped = processes.run(
        command.arguments(tmp_path / "place"), before=8, folder=str(tmp_path), signal=signal.SIGTERM
    )
    assert stopped.code == 143, stopped.output
    assert stopped.output.startswith("mbdcnn: stopped; ")
    assert stopped.output.count("\n") == 1
    left = {path.name for path in tmp_path.rglob("*")}
    assert not any(name.startswith((".", "predictions.")) for name in left)
    assert left if name == "predict" else not left
