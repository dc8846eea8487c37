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
    place: int = 0
    """Number of this process among those on its node."""

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
            names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
            return cls(*(int(environment[name]) for name in names))
        # Set by `srun` alone; SLURM_NTASKS is there in the job's script too, whose commands are one process each.
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) == 1:
            return cls()
        if "SLURM_NTASKS_PER_NODE" not in environment:
            raise UserError("srun with several tasks: give --ntasks-per-node")
        names = ("PROCID", "STEP_NUM_TASKS", "NTASKS_PER_NODE", "LOCALID")
        return cls(*(int(environment[f"SLURM_{name}"]) for name in names))
