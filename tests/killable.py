"""A program that runs commands as processes, told of each by a line of JSON on standard input.

It loads everything once and forks, so that a kill does not wait seconds for imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
"""Audit events of Python that come before a change on the disk."""
LOADED = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "onnx",
    "scipy.spatial",
    "torch.utils.tensorboard",
    "mbdcnn.cli",
    "mbdcnn.data.download.isic2017",
    "mbdcnn.evaluation.evaluate",
    "mbdcnn.inference.export",
    "mbdcnn.bundling.imports",
    "mbdcnn.inference.predict",
    "mbdcnn.pipeline",
)


def _main() -> None:
    _load()
    for line in sys.stdin:
        job = json.loads(line)
        counted, counting = os.pipe()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _work(job, counting)
        os.close(counting)
        code = _wait(child, job, started)
        with os.fdopen(counted, "rb") as stream:
            changes = len(stream.read())
        print(json.dumps({"code": code, "seconds": time.monotonic() - started, "changes": changes}), flush=True)


def _load() -> None:
    """Import what commands import when they run, and start no thread."""
    for name in LOADED:
        import_module(name)
    import torch

    torch.set_num_threads(1)


def _wait(child: int, job: dict[str, Any], started: float) -> int:
    while "after" in job:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - started > job["after"]:
            os.kill(child, job.get("signal", signal.SIGKILL))
            break
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _work(job: dict[str, Any], counting: int) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code: Any = 70
    # Ignored where the tests were started in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for name, value in job.get("patches", {}).items():
            module, attribute = name.split(".")
            setattr(sys.modules[f"mbdcnn.data.download.{module}"], attribute, value)
        if "folder" in job:
            watch(job["folder"], counting, job.get("before"), job.get("signal", signal.SIGKILL))
        from mbdcnn.cli import main

        main(job["arguments"])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch(folder: str, counting: int, before: int | None = None, number: int = signal.SIGKILL) -> None:
    """Write a byte for every change below a folder, and send this process a signal before one of them."""
    changes = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in CHANGES or not _place(event, arguments).startswith(folder):
            return
        changes += 1
        os.write(counting, b".")
        if changes == before:
            os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def _place(event: str, arguments: tuple[Any, ...]) -> str:
    """Give the path of a change, '' for reading."""
    path = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
    if event == "open":
        return path if arguments[2] & (os.O_WRONLY | os.O_RDWR) else ""
    # A folder is emptied by names relative to it.
    folder = arguments[-1] if event in {"os.remove", "os.rmdir"} else -1
    return path if folder == -1 else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)


if __name__ == "__main__":
    _main()
