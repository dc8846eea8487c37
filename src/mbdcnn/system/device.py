"""Where the work runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mbdcnn.errors import UserError

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
