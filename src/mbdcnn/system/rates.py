"""How fast this processor multiplies matrices, in fp32 and in bfloat16: measured once, in a second, and remembered."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from mbdcnn.system.cache import cache_folder
from mbdcnn.system.files import replacing

FAST = 1.5
"""bfloat16 pays where its rate is so many times that of fp32: what only moves memory or stays in fp32 gains less."""
MATRIX_UNITS = 2.5
"""Without units for matrices, such as AMX, a CPU multiplies bfloat16 at most twice as fast as fp32."""
SECONDS, ROUNDS = 0.5, 20
"""What measuring takes at most, but for the last round."""


class MatrixRates(NamedTuple):
    """Operations a second on one core, in both arithmetics."""

    fp32: float
    bf16: float

    @property
    def bf16_pays(self) -> bool:
        """Whether bfloat16 is at least 1.5 times as fast."""
        return self.bf16 >= FAST * self.fp32

    @property
    def matrix_units(self) -> bool:
        """Whether bfloat16 is so fast that the processor must have units for matrices."""
        return self.bf16 >= MATRIX_UNITS * self.fp32


def remembered_rates() -> MatrixRates | None:
    """Give the rates of this processor under this version of torch if they have been measured; torch is not loaded."""
    # What cannot be read is measured again, and what cannot be written the next time too: it costs a second.
    with suppress(OSError, ValueError, TypeError):
        return MatrixRates(**json.loads(_file().read_text()))
    return None


def matrix_rates() -> MatrixRates:
    """Give the rates of this processor under this version of torch; torch is loaded only to measure them."""
    if known := remembered_rates():
        return known
    file, rates = _file(), measure_rates()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as draft:
            draft.write_text(json.dumps(rates._asdict()))
    return rates


def measure_rates() -> MatrixRates:
    """Time a matrix product and a convolution, the shortest of several turns; of the two the faster counts.

    In the processor's time of one thread, which others that use the machine hardly change.
    """
    import torch

    def works(dtype: torch.dtype) -> list[tuple[float, Callable[[], object]]]:
        matrix = torch.rand(512, 512).to(dtype)
        image = torch.rand(2, 128, 28, 28).to(dtype, memory_format=torch.channels_last)
        kernel = torch.rand(128, 128, 3, 3).to(dtype, memory_format=torch.channels_last)
        convolve = 2 * 2 * 128 * 128 * 9 * 28 * 28
        return [(2 * 512**3, lambda: matrix @ matrix), (convolve, lambda: torch.conv2d(image, kernel, padding=1))]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return MatrixRates(*_best([works(torch.float32), works(torch.bfloat16)]))
    finally:
        torch.set_num_threads(threads)


def _best(kinds: list[list[tuple[float, Callable[[], object]]]]) -> list[float]:
    """Give the best rate of each kind; in turns, so that a busy machine slows all."""
    best, start = [0.0] * len(kinds), time.thread_time()
    for _ in range(ROUNDS):
        for kind, works in enumerate(kinds):
            for operations, work in works:
                begun = time.thread_time()
                work()
                best[kind] = max(best[kind], operations / (time.thread_time() - begun))
        if time.thread_time() - start > SECONDS:
            break
    return best


def _file() -> Path:
    return cache_folder() / "rates" / f"{_machine()}.json"


def _machine() -> str:
    """Name the processor, as Linux describes it, and the version of torch."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    described = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    parts = (platform.machine(), platform.processor(), *described, metadata.version("torch"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
