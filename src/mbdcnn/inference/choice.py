"""Which runtime is fastest on this machine for a model, and exact enough: measured once, then remembered."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

from mbdcnn.artifacts import Bundle
from mbdcnn.artifacts.provenance import fingerprint
from mbdcnn.data.synthetic import KINDS, draw
from mbdcnn.errors import on_one_line
from mbdcnn.inference.graphs import cache_folder, content_key
from mbdcnn.inference.probabilities import softmax
from mbdcnn.inference.protocol import Core, Inputs, inputs_of_picture, run_protocol
from mbdcnn.inference.runtimes import PACKAGES, RuntimeName, load_core
from mbdcnn.system.files import replacing

logger = logging.getLogger("mbdcnn")
EXACT: tuple[RuntimeName, ...] = ("torch", "onnx", "openvino")
"""In the order in which they start, but for torch, which takes longest. Not bfloat16: it moved the shipped model's
probabilities by up to 0.1 on real pictures."""
PICTURES = 4
"""Drawn pictures that all runtimes look at."""
SIZE = (600, 450)
REPEATS = 3
NOTEWORTHY = 1.2
"""Times as fast that a runtime must be to be preferred to one that starts sooner."""


class Trial(NamedTuple):
    """What a runtime made of the pictures, class probabilities and mask logits, and how long it took."""

    outputs: tuple[np.ndarray, np.ndarray]
    seconds: float


class Outcome(NamedTuple):
    """Of trying out."""

    runtime: RuntimeName
    seconds: dict[str, float]
    """Of each runtime that ran."""
    complete: bool
    """No runtime failed, which it may not do the next time."""


def fastest_runtime(bundle: Bundle, device: str) -> RuntimeName:
    """Name the fastest installed runtime whose predictions agree with those of torch.

    The first time, graphs are exported and every runtime predicts a few drawn pictures, which takes some seconds. The
    outcome is kept in the user's cache, for this model, this machine and these versions.

    Args:
        bundle: whose networks.
        device: `auto` or `cpu`; on a GPU it is torch, and, with a warning, where the cache cannot be written.

    Raises:
        UserError: the model cannot be read.
    """
    installed = [name for name in EXACT if find_spec(PACKAGES[name])]
    if installed == ["torch"] or device not in {"auto", "cpu"}:
        return "torch"
    file = cache_folder() / "fastest" / f"{content_key(bundle)}-{_machine(device)}.json"
    try:
        remembered: RuntimeName = json.loads(file.read_text())["runtime"]
        if remembered in installed:
            return remembered
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        logger.warning(
            "%s: %s; the runtime is torch. Set MBDCNN_CACHE to a folder for others", file.parent, error.strerror
        )
        return "torch"
    outcome = _try_out(bundle, device, installed)
    if outcome.complete:
        _remember(file, outcome)
    return outcome.runtime


def _try_out(bundle: Bundle, device: str, installed: Sequence[RuntimeName]) -> Outcome:
    from mbdcnn.inference.tracing import agree
    from mbdcnn.system.device import choose_device

    if choose_device(device).type != "cpu":
        return Outcome("torch", {}, complete=True)
    logger.warning("first use of this model here: trying out its runtimes, once")
    settings = bundle.config.data
    random = np.random.default_rng(0)
    drawn = [draw(random, KINDS[number % len(KINDS)], SIZE)[0] for number in range(PICTURES)]
    inputs = [inputs_of_picture(picture, settings, "fast") for picture in drawn]
    seen: dict[RuntimeName, Trial] = {}
    complete = True
    for name in installed:
        try:
            seen[name] = _look(load_core(bundle, name, "cpu"), inputs)
        # Exporters and runtimes have errors of their own; the model runs in torch all the same.
        except Exception as error:
            if name == "torch":
                raise
            complete = False
            logger.warning("runtime %s is left out: %s", name, on_one_line(str(error))[:300])
    alike = [name for name in seen if agree(seen["torch"].outputs, seen[name].outputs)]
    enough = NOTEWORTHY * min(seen[name].seconds for name in alike)
    chosen = next(name for name in sorted(alike, key=lambda name: name == "torch") if seen[name].seconds <= enough)
    return Outcome(chosen, {name: round(seen[name].seconds, 4) for name in seen}, complete)


def _look(core: Core, inputs: list[Inputs]) -> Trial:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        outcomes = list(run_protocol(core, inputs, "fast"))
        times.append(time.perf_counter() - started)
    probabilities = softmax(np.stack([outcome.view_logits[0] for outcome in outcomes]))
    return Trial((probabilities, np.stack([outcome.scale_logits[0] for outcome in outcomes])), min(times))


def _machine(device: str) -> str:
    """Name this processor, how much of it is ours, whether there is a GPU, and what is installed."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        processor = platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = device == "auto" and Path("/dev/nvidiactl").exists(), os.environ.get("CUDA_VISIBLE_DEVICES")
    versions = [_version(package) for package in sorted(set(PACKAGES.values()))]
    return fingerprint([processor, cores, os.environ.get("OMP_NUM_THREADS"), device, gpu, versions])[:16]


def _version(package: str) -> str:
    """Give its version, unless it is not installed or under another name, as `onnxruntime-gpu` is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return str(find_spec(package) is not None)


def _remember(file: Path, outcome: Outcome) -> None:
    try:
        with replacing(file) as draft:
            draft.write_text(json.dumps(outcome._asdict()))
    except OSError as error:
        logger.warning("%s: %s; they will be tried out again", file, error.strerror)
