"""Commands on a disk that is full or can only be read: one line, exit code 1, and what was there is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import Ended, Killing, Processes, download_command, slow_site, writing_commands, zipped
from mbdcnn.errors import UserError
from mbdcnn.inference.graphs import cached_graphs

COMMANDS = ("coarse", "masks", "prepare", "bundle", "export", "evaluate", "import-weights", "predict")
MEGABYTES = 16


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        if not self._mount("-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs"):
            pytest.skip("to mount a small disk takes root")

    def leave(self, room: int) -> None:
        """Let only so many bytes be free."""
        (self.path / "filler").unlink(missing_ok=True)
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
        with (self.path / "filler").open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, free - room)

    def close_to_writing(self) -> None:
        assert self._mount("-o", "remount,ro")

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def _mount(self, *options: str) -> bool:
        return not subprocess.run(["mount", *options, self.path], capture_output=True, check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.remove()


def one_line(ended: Ended, saying: str) -> None:
    assert ended.code == 1, ended.output
    assert ended.output.startswith("mbdcnn: ")
    assert ended.output.count("\n") == 1
    assert saying in ended.output


SAMPLE, ALL = (0.5,), (0.02, 0.5, 0.9)
"""Shares of the room that a command needs."""


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        *((name, SAMPLE) for name in ("coarse", "prepare", "predict")),
        *(pytest.param(name, ALL, marks=[pytest.mark.soak, pytest.mark.slow]) for name in COMMANDS),
    ],
)
def test_a_full_disk(
    name: str,
    shares: tuple[float, ...],
    processes: Processes,
    experiment,
    raw: Path,
    config_file: Path,
    disk: Disk,
) -> None:
    folder = disk.path / "work"
    folder.mkdir()
    killing = Killing(processes, writing_commands(experiment, raw, config_file)[name], folder)
    for share in shares:
        killing.clear()
        if killing.others:
            shutil.copytree(folder / "earlier", killing.place)
        disk.leave(int(share * killing.size))
        ended = killing.run(killing.command.arguments(killing.place))
        one_line(ended, "the disk is full; make room and run again")
        assert str(killing.place) in ended.output
        killing.check_whole({"share": share})
        assert killing.place.exists() or not killing.others
        names = {path.name for path in folder.iterdir()} - {"earlier", "place"}
        assert names <= ({".place.partial"} if killing.command.again else set())
        disk.leave(MEGABYTES << 19)
        killing.finish({"share": share})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_can_only_be_read(
    name: str, processes: Processes, experiment, raw: Path, config_file: Path, disk: Disk
) -> None:
    command = writing_commands(experiment, raw, config_file)[name]
    if name == "predict":
        # Its folder may be there.
        (disk.path / "place").mkdir()
    disk.close_to_writing()
    one_line(processes.run(command.arguments(disk.path / "place")), "the disk can only be read; choose another place")


@pytest.mark.parametrize("name", ["coarse", "prepare", "predict", "download"])
def test_a_file_where_the_folder_should_be(
    name: str, processes: Processes, experiment, raw: Path, config_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    commands = writing_commands(experiment, raw, config_file) | {"download": download_command("http://127.0.0.1:9", {})}
    one_line(processes.run(commands[name].arguments(tmp_path / "file" / "place")), "choose another place")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_download_on_a_full_disk_goes_on_when_there_is_room(
    processes: Processes, raw: Path, disk: Disk, tmp_path: Path
) -> None:
    files = zipped(raw, tmp_path / "zipped")
    (disk.path / "work").mkdir()
    with slow_site(files, wait=0) as address:
        killing = Killing(processes, download_command(address, files), disk.path / "work")
        for share in (0.1, 0.7):
            killing.clear()
            disk.leave(int(share * killing.size))
            ended = killing.run(killing.command.arguments(killing.place))
            assert ended.code == 1, ended.output
            assert "make room" in ended.output
            assert ended.output.count("\n") == 1
            killing.check_whole({"share": share})
            disk.leave(MEGABYTES << 19)
            killing.finish({"share": share})


def test_a_cache_of_graphs_on_a_full_disk(bundle, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBDCNN_CACHE", str(disk.path / "cache"))
    disk.leave(20_000)
    with pytest.raises(UserError, match="the disk is full; make room and run again"):
        cached_graphs(bundle)
    assert not any((disk.path / "cache").rglob("*.onnx"))
    disk.leave(MEGABYTES << 19)
    assert len(list(cached_graphs(bundle).glob("*.onnx"))) == 3
