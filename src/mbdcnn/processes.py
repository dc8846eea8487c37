"""Several processes at one job, as `torchrun` or SLURM's `srun` starts them. Importing this does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mbdcnn.errors import UserError


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int = 0
    """Number of this process; the first, 0, is the one that writes and speaks."""
    count: int = 1
    """Processes in all."""
    on_this_node: int = 1
    """Processes on each node."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Machines they run on."""
        return self.count // self.on_this_node

    @classmethod
    def started(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read what `torchrun` or `srun` told this process; one process alone if neither started it.

        Raises:
            UserError: `srun` was not told how many tasks go on a node.
        """
        if "TORCHELASTIC_RUN_ID" in environment:
            names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
            return cls(*(int(environment[name]) for name in names))
        if int(environment.get("SLURM_NTASKS", 1)) == 1 or environment.get("SLURM_JOB_NAME") in {"bash", "interactive"}:
            return cls()
        if "SLURM_NTASKS_PER_NODE" not in environment:
            raise UserError("SLURM job of several tasks: give --ntasks-per-node")
        return cls(*(int(environment[f"SLURM_{name}"]) for name in ("PROCID", "NTASKS", "NTASKS_PER_NODE")))
