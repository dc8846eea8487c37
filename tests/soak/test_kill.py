"""Every command that writes, killed at random moments and between any two changes on the disk, and given again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults import Killing, Processes, download_command, slow_site, writing_commands, zipped

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.allow_hosts(["127.0.0.1"])]

MOMENTS = int(os.environ.get("MBDCNN_SOAK_KILLS", "20"))
"""In time, and as many before changes on the disk; of a training, whose changes are mostly alike, a quarter."""
COMMANDS = (
    "coarse",
    "classifier",
    "enhanced",
    "masks",
    "prepare",
    "bundle",
    "export",
    "evaluate",
    "import-weights",
    "predict",
)


def kill(killing: Killing, name: str) -> None:
    changes = MOMENTS // 4 if killing.command.again else MOMENTS
    for number, moment in enumerate(killing.moments(MOMENTS, changes, seed=sum(map(ord, name)))):
        killing.kill(moment, over_earlier=number % 2 == 0)
    print(f"\n{name}: {killing.kills} kills in {killing.whole.seconds:.2f} s and {killing.whole.changes} changes")
    # Some moments in time come after the end, as no two runs take as long.
    assert killing.kills >= MOMENTS // 2 + changes


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment(
    name: str, processes: Processes, experiment, raw: Path, config_file: Path, tmp_path: Path
) -> None:
    command = writing_commands(experiment, raw, config_file)[name]
    kill(Killing(processes, command, tmp_path), name)


def test_a_download_killed_at_any_moment(processes: Processes, raw: Path, tmp_path: Path) -> None:
    files = zipped(raw, tmp_path / "zipped")
    (tmp_path / "folder").mkdir()
    with slow_site(files) as address:
        kill(Killing(processes, download_command(address, files), tmp_path / "folder"), "download")
