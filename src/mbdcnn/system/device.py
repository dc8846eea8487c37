"""Where the work runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mbdcnn.errors import UserError
from mbdcnn.system.processes import Processes

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


def own_gpu(name: str, processes: Processes) -> str:
    """Give each process on a machine a GPU in turn, where `auto` or `cuda` leaves the choice and there are several."""
    import torch

    if processes.count == 1 or name not in {"auto", "cuda"} or not torch.cuda.is_available():
        return name
    # Where SLURM shows each task its own GPU alone, that is number 0 for all.
    return f"cuda:{processes.place % torch.cuda.device_count()}"
