"""Lightning, told how to run one training: checkpoints, logs, early stopping, and the files of a run."""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from mbdcnn.artifacts import Draft
from mbdcnn.device import choose_device
from mbdcnn.errors import UserError
from mbdcnn.models.weights import save_weights
from mbdcnn.processes import Processes
from mbdcnn.progress import Progress
from mbdcnn.training.curves import draw_curves
from mbdcnn.training.group import Group
from mbdcnn.training.task import REMEDY, Task

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit(
    task: Task,
    loaders: tuple[DataLoader[Any], DataLoader[Any]],
    draft: Draft,
    device: str,
    progress: Progress,
    group: Group,
) -> None:
    """Train from the start or from the draft's last checkpoint, and write weights, table and curves.

    Args:
        task: what to train.
        loaders: of training and validation.
        draft: the run being written.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: told the steps done.
        group: the processes that train together; the first one writes.

    Raises:
        UserError: the device is not there or cannot compute in fp16, or the loss is not finite.
    """
    place = choose_device(device)
    if task.settings.precision == "fp16" and place.type == "cpu":
        raise UserError("precision fp16: needs a GPU; choose fp32 or bf16 to train on the CPU")
    checkpoints = draft.path / "checkpoints"
    best = ModelCheckpoint(
        checkpoints, "best", task.score, mode="max", save_on_train_epoch_end=False, enable_version_counter=False
    )
    last = ModelCheckpoint(
        checkpoints, "last", every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    table = MetricsTable(draft.path / "metrics.csv", task, progress)
    options = [*_early_stopping(task), *_weight_averaging(task)]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    task.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = lightning.Trainer(
        **_where(place, group.processes),
        precision=PRECISIONS[task.settings.precision],
        max_steps=task.steps,
        max_epochs=-1,
        callbacks=[table, *options, best, last],
        logger=TensorBoardLogger(draft.path, name="tensorboard", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1_000_000_000,
        use_distributed_sampler=False,
    )
    resumed = checkpoints / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(task, *loaders, ckpt_path=resumed if resumed.is_file() else None, weights_only=True)
        except SystemExit:
            # What Lightning turns Ctrl-C into.
            raise KeyboardInterrupt from None
    if group.first:
        _write_weights(task, checkpoints, draft, best)


def _where(place: torch.device, processes: Processes) -> dict[str, Any]:
    several = processes.count > 1
    return {
        "accelerator": place.type,
        "devices": processes.on_this_node if place.index is None else [place.index],
        "num_nodes": processes.nodes,
        "strategy": "ddp" if several else "auto",
        # One process in the script of a SLURM job is one process, whatever the job was given.
        "plugins": [] if several else [LightningEnvironment()],
        "sync_batchnorm": several and place.type == "cuda",
    }


def _early_stopping(task: Task) -> list[Callback]:
    patience = task.settings.early_stopping
    return [EarlyStopping(task.score, mode="max", patience=patience)] if patience else []


def _weight_averaging(task: Task) -> list[Callback]:
    share = task.settings.weight_averaging
    return [EMAWeightAveraging(decay=share)] if share else []


def _write_weights(task: Task, checkpoints: Path, draft: Draft, best: ModelCheckpoint) -> None:
    save_weights(draft.path / "last.safetensors", task.network)
    state = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
    prefix = "network."
    task.network.load_state_dict(
        {key.removeprefix(prefix): value for key, value in state["state_dict"].items() if key.startswith(prefix)}
    )
    save_weights(draft.path / "best.safetensors", task.network)
    draw_curves(draft.path / "metrics.csv", draft.path / "curves.png")
    assert best.best_model_score is not None
    draft.facts |= {
        "score": task.score,
        "best": float(best.best_model_score),
        "best_step": state["global_step"],
        "steps": task.global_step,
    }


class MetricsTable(Callback):
    """Keep `metrics.csv` and the progress bar; rows travel in the checkpoint, so a resumed table has no gap."""

    def __init__(self, path: Path, task: Task, progress: Progress) -> None:
        self.path = path
        self.score = task.score
        self.progress = progress
        self.rows: list[dict[str, float]] = []
        self.best = -np.inf

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *arguments: Any) -> None:
        """Move the bar."""
        if not trainer.is_global_zero:
            return
        note = f"{self.score} {self.best:.3f}" if self.rows else ""
        self.progress(trainer.global_step, pl_module.steps, note)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Add a row for what was trained and validated since the last one."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not logged:
            # After a checkpoint at the end of an epoch, Lightning comes here once more before it goes on.
            return
        if not np.isfinite(logged["train_loss"]):
            # On a GPU, where looking at every loss would hold up the next step.
            first = self.rows[-1]["step"] if self.rows else 0
            raise UserError(f"the loss is not finite between the steps {first} and {trainer.global_step}; {REMEDY}")
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"step": trainer.global_step, "learning_rate": rate} | dict(sorted(logged.items())))
        self.best = max(self.best, logged.get(self.score, -np.inf))
        if trainer.is_global_zero:
            write_table(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Give the rows for the checkpoint."""
        return {"rows": self.rows, "best": float(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows, self.best = state_dict["rows"], state_dict["best"]


def write_table(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write rows of equal columns as CSV."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
