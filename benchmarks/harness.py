"""What all benchmarks share: timing, the machine's best rate, models with random weights, and the table.

Every row is a ratio against a plain baseline measured in the same run, so that a busy machine slows both.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mbdcnn.artifacts import Bundle
from mbdcnn.config import Config, save_config
from mbdcnn.models import MBDCNN
from mbdcnn.models.weights import save_weights


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    seconds: float
    baseline: float
    """Seconds of what it is held against."""
    floor: float | None = None
    """Seconds below which this machine cannot do it."""
    note: str = ""


def print_table(title: str, rows: list[Row]) -> None:
    """Print times, how many times faster than the baseline each is, and how many times slower than the floor."""
    width = max(len(row.name) for row in rows)
    print(f"\n{title}\n{'':<{width}}  {'seconds':>10}  {'speed-up':>8}  {'floor':>10}  {'x floor':>7}")
    for row in rows:
        floor = f"{row.floor:>10.4f}  {row.seconds / row.floor:>7.1f}" if row.floor else f"{'-':>10}  {'-':>7}"
        print(f"{row.name:<{width}}  {row.seconds:>10.4f}  {row.baseline / row.seconds:>8.2f}  {floor}  {row.note}")


def fastest(work: Callable[[], object], repeats: int = 5) -> float:
    """Time work in seconds: the shortest of several runs after one to warm up."""
    work()
    return min(_timed(work) for _ in range(repeats))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@cache
def best_rate(bf16: bool = False) -> float:
    """Floating-point operations a second at best: the largest of matrix products and convolutions.

    Args:
        bf16: in bfloat16 or fp32, whichever is faster; not every CPU gains by it.
    """
    dtype = torch.bfloat16 if bf16 else torch.float32
    matrix = torch.rand(1536, 1536).to(dtype)
    image = torch.rand(8, 256, 28, 28).to(dtype).to(memory_format=torch.channels_last)
    kernel = torch.rand(256, 256, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    works = [(2 * 1536**3, lambda: matrix @ matrix)]
    works.append((2 * 8 * 256 * 256 * 9 * 28 * 28, lambda: torch.conv2d(image, kernel, padding=1)))
    if not bf16:
        array = matrix.numpy()
        works.append((2 * 1536**3, lambda: array @ array))
    with torch.inference_mode():
        rate = max(operations / fastest(work, 10) for operations, work in works)
    return max(rate, best_rate()) if bf16 else rate


def operations(network: Callable[..., object], *inputs: torch.Tensor) -> int:
    """Count the floating-point operations of one pass."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(*inputs)
    return counter.get_total_flops()


def random_bundle(config: Config, folder: Path) -> Bundle:
    """Write networks with random weights: they take as long as trained ones."""
    torch.manual_seed(0)
    model = MBDCNN(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    with Bundle.writing(folder, {}, {}) as draft:
        for stage in ("coarse", "classifier", "enhanced"):
            save_weights(draft.path / f"{stage}.safetensors", getattr(model, stage))
        save_config(config, draft.path / "config.yaml")
        (draft.path / "ids.json").write_text("{}")
    return Bundle.open(folder)


def write_picture(file: Path, width: int = 1022, height: int = 767, seed: int = 0) -> Path:
    """Write a JPEG of a dark spot on skin-coloured noise."""
    rows, columns = np.mgrid[:height, :width]
    spot = np.exp(-((rows - height / 2) ** 2 + (columns - width / 2) ** 2) / (height / 4) ** 2)[..., None]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    pixels = (200, 160, 140) - spot * (90, 90, 90) + noise
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=95)
    return file


@dataclass(frozen=True)
class Process:
    """What a finished process used."""

    seconds: float
    cpu_seconds: float
    output: str


def measure_process(*arguments: str, environment: dict[str, str] | None = None) -> Process:
    """Run Python with these arguments to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, *arguments]
    settings = os.environ | (environment or {})
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=settings)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Process(seconds, cpu, done.stdout)
