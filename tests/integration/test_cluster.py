"""Prediction by workers of Ray Data: nothing lost and nothing twice, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow

COMMAND = """
import sys
import mbdcnn.inference.cluster
from mbdcnn.cli import main
import mbdcnn.inference.parquet as parquet

mbdcnn.inference.cluster.BLOCK = parquet.ROWS = 2
main(sys.argv[1:])
"""
"""The command line, with blocks and tables of two images."""
IMAGES = 20
WAIT = 300


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images, one of them unreadable."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(random.integers(0, 256, (1000, 1500, 3), np.uint8)).save(folder / f"{number:02}.png")
    (folder / "03.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def start(bundle, images: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start the command, always the same."""
    started: list[subprocess.Popen[str]] = []
    options = ("--out", tmp_path / "out", "--model", bundle.path, "--cluster", "local", "--workers", 2)
    # Ray lets workers go last, and they would wait for the other tests.
    environment = os.environ | {"RAY_worker_niceness": "0"}

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMAND, "predict", images, *options, "--device", "cpu", "-q"]
        started.append(
            subprocess.Popen(
                list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
        # Workers that outlive a killed command for a moment hold its other end.
        assert process.stdout is not None
        process.stdout.close()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Give the numbers of the processes that hold the model: Ray's daemon, a child of the command, starts them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"MapWorker" in (folder / "cmdline").read_bytes() and parent(parent(int(folder.name))) == process.pid:
                found.append(int(folder.name))
    return found


def parent(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for_tables(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT
    while len(list(out.glob("part-*.parquet"))) < count:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def check_rows(out: Path, images: Path) -> None:
    rows = [row for file in out.iterdir() for row in pq.read_table(file).to_pylist()]
    assert sorted(row["file"] for row in rows) == sorted(map(str, images.iterdir()))
    assert [Path(row["file"]).name for row in rows if row["problem"]] == ["03.png"]


def test_a_killed_worker_loses_nothing_and_gives_nothing_twice(start, images: Path, tmp_path: Path) -> None:
    process = start()
    wait_for_tables(tmp_path / "out", 1, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    told = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0, told
    assert f"{IMAGES} images predicted, 1 not readable" in told
    check_rows(tmp_path / "out", images)


def test_the_same_command_goes_on_after_everything_was_killed(start, images: Path, tmp_path: Path) -> None:
    process = start()
    wait_for_tables(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held = sum(pq.read_metadata(file).num_rows for file in (tmp_path / "out").glob("part-*.parquet"))
    assert 0 < held < IMAGES
    process = start()
    told = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0, told
    assert f"{IMAGES - held} images predicted" in told
    check_rows(tmp_path / "out", images)
