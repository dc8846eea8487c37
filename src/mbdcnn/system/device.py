"""Where the work runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from mbdcnn.errors import UserError
from mbdcnn.system.rates import matrix_rates

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        UserError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"device {name}: unknown; give auto, cpu, cuda or cuda:N")
    index = name.partition(":")[2]
    if name != "cpu" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name}: not there; this machine has {torch.cuda.device_count()} CUDA devices")
    return torch.device(name)


def choose_precision(name: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> str:
    """Turn `auto` into `bf16` or `fp32`, whichever trains faster on a device; leave the others as they are.

    That is bf16 on a GPU that computes in it, and on a CPU that multiplies matrices 1.5 times as fast in it.
    """
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if matrix_rates().bf16_pays else "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
