"""The processes of one training, connected."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from mbdcnn.errors import UserError
from mbdcnn.system.device import choose_device
from mbdcnn.system.processes import Processes


@dataclass(frozen=True)
class Group:
    """Processes that train one network together, each on its share of every batch."""

    processes: Processes

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.processes.first

    def wait(self) -> None:
        """Continue when all processes have come here."""
        if self.processes.count > 1:
            torch.distributed.barrier()

    def after_first(self, work: Callable[[], None]) -> None:
        """Let the first process do something before the others continue; where it refuses, all do.

        Raises:
            UserError: what it says is wrong.
        """
        refusal: list[str | None] = [None]
        if self.first:
            try:
                work()
            except UserError as error:
                refusal = [str(error)]
        if self.processes.count > 1:
            torch.distributed.broadcast_object_list(refusal, src=0)
        if refusal[0] is not None:
            raise UserError(refusal[0])

    def check_shares(self, batch_size: int, validation: int) -> None:
        """Raise a UserError unless every process gets as much of a batch, and something to validate."""
        if batch_size % self.processes.count:
            raise UserError(f"batch_size {batch_size}: not a multiple of the {self.processes.count} processes")
        if validation < self.processes.count:
            raise UserError(f"{validation} validation images for {self.processes.count} processes; start fewer")


def join(device: str) -> Group:
    """Connect the processes that `torchrun` or `srun` started; once connected they stay so.

    Args:
        device: `auto`, `cpu` or `cuda`; each process on a node takes a GPU of its own.

    Raises:
        UserError: one GPU is named for several processes.
    """
    group = Group(Processes.started())
    if group.processes.count > 1 and not torch.distributed.is_initialized():
        _connect(group.processes, device)
    return group


def _connect(processes: Processes, device: str) -> None:
    place = choose_device(device)
    if ":" in device:
        raise UserError(f"device {device}: {processes.count} processes take a GPU each; give cuda or cpu")
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        _find_first_node()
    if place.type == "cuda":
        # Where SLURM shows each task its own GPU alone, that is number 0 for all.
        torch.cuda.set_device(processes.place % torch.cuda.device_count())
    backend = "nccl" if place.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, rank=processes.rank, world_size=processes.count)
    atexit.register(torch.distributed.destroy_process_group)


def _find_first_node() -> None:
    """Let Lightning work out of SLURM's variables where the processes meet; torch looks for it in the environment."""
    slurm = SLURMEnvironment()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = slurm.main_address, str(slurm.main_port)
