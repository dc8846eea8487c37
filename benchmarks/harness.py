"""What all benchmarks share: timing, the machine's best rate, models with random weights, and the table.

Every row is a ratio against a plain baseline measured in the same run, so that a busy machine slows both.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
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
from mbdcnn.data.synthetic import draw
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
    target: float | None = None
    """Speed-up that is wanted."""


def print_table(title: str, rows: list[Row]) -> None:
    """Print times, how many times faster than the baseline each is, and how many times slower than the floor."""
    width = max(len(row.name) for row in rows)
    print(f"\n{title}\n{'':<{width}}  {'seconds':>10}  {'speed-up':>8}  {'target':>6}  {'floor':>10}  {'x floor':>7}")
    for row in rows:
        target = f"{row.target:g}" if row.target else "-"
        floor = f"{row.floor:>10.4f}  {row.seconds / row.floor:>7.1f}" if row.floor else f"{'-':>10}  {'-':>7}"
        speed_up = row.baseline / row.seconds
        print(f"{row.name:<{width}}  {row.seconds:>10.4f}  {speed_up:>8.2f}  {target:>6}  {floor}  {row.note}".rstrip())


def fastest(work: Callable[[], object], repeats: int = 5) -> float:
    """Time work in seconds: the shortest of several runs after one to warm up."""
    return side_by_side({"": work}, repeats)[""]


def side_by_side(works: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Time several works in turn, so that a busy machine slows all of them: seconds of each one's shortest run."""
    for work in works.values():
        work()
    times = [{name: _timed(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: min(each[name] for each in times) for name in works}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@cache
def copy_rate() -> float:
    """Bytes that can be read and as many written a second, between tensors larger than the caches."""
    source = torch.zeros(256 << 20, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / fastest(lambda: target.copy_(source), 3)


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


def write_image(file: Path, width: int = 1022, height: int = 767) -> Path:
    """Write a photo-like JPEG; a very large one is drawn smaller and enlarged."""
    drawn = min(1.0, 2000 / max(width, height))
    image, _ = draw(np.random.default_rng(0), "melanoma", (round(width * drawn), round(height * drawn)))
    image.resize((width, height), Image.Resampling.BICUBIC).save(file, quality=92)
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
