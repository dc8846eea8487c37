"""Lightning, told how to run one training: checkpoints, logs, early stopping, and the files of a run."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from mbdcnn.artifacts import Draft
from mbdcnn.errors import UserError
from mbdcnn.models.weights import save_weights
from mbdcnn.system.device import choose_device, choose_precision
from mbdcnn.system.files import replacing
from mbdcnn.system.memory import keep_freed_memory
from mbdcnn.system.processes import Processes
from mbdcnn.system.progress import Progress
from mbdcnn.system.tables import write_table
from mbdcnn.training.curves import draw_curves
from mbdcnn.training.group import Group
from mbdcnn.training.task import REMEDY, NotFiniteError, Task

NOT_FINITE = "not_finite.csv"
"""File beside the checkpoints that names the images of a step whose loss was not finite."""
LOSS_EVERY = 10
"""Steps from one loss that is shown to the next: a GPU is waited for to know it."""
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
        progress: called with the number of steps done.
        group: the processes that train together; the first one writes.

    Raises:
        UserError: the device is not there or cannot compute in fp16, or the loss is not finite.
    """
    place = choose_device(device)
    draft.facts["precision"] = precision = _prepare(task, place, group)
    checkpoints = draft.path / "checkpoints"
    best, last = _checkpoints_of(task.score, checkpoints)
    table = MetricsTable(draft.path / "metrics.csv", task, progress)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        **_where(place, group.processes),
        precision=PRECISIONS[precision],
        max_steps=task.steps,
        max_epochs=-1,
        callbacks=[OwnSignals(), table, *_by_settings(task), best, last],
        logger=TensorBoardLogger(draft.path, name="tensorboard", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1_000_000_000,
        use_distributed_sampler=False,
    )
    _run(trainer, task, loaders, checkpoints)
    if group.first:
        _write_weights(task, checkpoints, draft, best)


def _prepare(task: Task, place: torch.device, group: Group) -> str:
    """Make ready what the training runs on; give its precision, the same in all processes."""
    wanted = task.settings.precision
    if place.type == "cpu":
        if wanted == "fp16":
            raise UserError("precision fp16: needs a GPU; choose fp32 or bf16 to train on the CPU")
        keep_freed_memory()
    task.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = [choose_precision(wanted, place) if group.first else wanted]
    if group.processes.count > 1:
        torch.distributed.broadcast_object_list(chosen, src=0)
    return chosen[0]


def _run(
    trainer: lightning.Trainer, task: Task, loaders: tuple[DataLoader[Any], DataLoader[Any]], checkpoints: Path
) -> None:
    """Train on from where an interrupted training left off; what stops it becomes one of the program's own errors."""
    resumed = checkpoints / "last.ckpt"
    (checkpoints / NOT_FINITE).unlink(missing_ok=True)
    with _told_once(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        # The step before was left out, its gradients being too large for half precision.
        warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before")
        try:
            trainer.fit(task, *loaders, ckpt_path=resumed if resumed.is_file() else None, weights_only=True)
        except SystemExit:
            # What Lightning turns Ctrl-C into.
            raise KeyboardInterrupt from None
        except NotFiniteError as error:
            raise UserError(f"{error}{_kept_ids(error, checkpoints)}; {REMEDY}") from None


@contextmanager
def _told_once() -> Iterator[None]:
    """Keep TensorBoard's thread from printing what a disk refused it: the writer raises it again where it is used."""
    earlier = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            earlier(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = earlier


def _kept_ids(error: NotFiniteError, checkpoints: Path) -> str:
    if not error.ids:
        return ""
    checkpoints.mkdir(exist_ok=True)
    file = checkpoints / NOT_FINITE
    write_table(file, ("step", "id"), ((error.step, name) for name in error.ids))
    return f" (all in {file})"


def _where(place: torch.device, processes: Processes) -> dict[str, Any]:
    several = processes.count > 1
    return {
        "accelerator": place.type,
        "devices": processes.on_this_node if place.index is None else [place.index],
        "num_nodes": processes.nodes,
        "strategy": "ddp" if several else "auto",
        # One process in the script of a SLURM job is one process, whatever the job was given.
        "plugins": [WholeCheckpoints(), *([] if several else [LightningEnvironment()])],
        "sync_batchnorm": several and place.type == "cuda",
    }


def _checkpoints_of(score: str, folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Keep the state with the best validation score and, to resume from, the last one."""
    best = ModelCheckpoint(
        folder, "best", score, mode="max", save_on_train_epoch_end=False, enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False)
    return best, last


def _by_settings(task: Task) -> list[Callback]:
    """Stop early and average weights, where that is asked for."""
    patience, share = task.settings.early_stopping, task.settings.weight_averaging
    stopping = [RememberedStopping(task.score, mode="max", patience=patience)] if patience else []
    return [*stopping, *([EMAWeightAveraging(decay=share)] if share else [])]


def _write_weights(task: Task, checkpoints: Path, draft: Draft, best: ModelCheckpoint) -> None:
    prefix, steps = "network.", {}
    for name in ("last", "best"):
        # From the checkpoint, also the last: only there are weights always averaged, if that was asked for.
        state = WholeCheckpoints().load_checkpoint(checkpoints / f"{name}.ckpt")
        weights = state["state_dict"].items()
        task.network.load_state_dict({key.removeprefix(prefix): value for key, value in weights})
        save_weights(draft.path / f"{name}.safetensors", task.network, task.file_metadata)
        steps[name] = state["global_step"]
    draw_curves(draft.path / "metrics.csv", draft.path / "curves.png")
    assert best.best_model_score is not None
    draft.facts |= {
        "score": task.score,
        "best": float(best.best_model_score),
        "best_step": steps["best"],
        "steps": steps["last"],
    }


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints beside their place and rename them; read only what holds plain values.

    Lightning writes them into the system's temporary folder and moves them, which from disk to disk is a copy that a
    kill leaves half done, and fails where that folder is small.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        content = BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(content.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of plain values.

        Raises:
            UserError: it is damaged, or holds more, which could run code.
        """
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        except Exception:  # a damaged or hostile pickle may raise anything
            raise UserError(
                f"{path}: no checkpoint of plain values, or damaged; begin again with --overwrite"
            ) from None
        return checkpoint


class RememberedStopping(EarlyStopping):
    """Stop a training again that was killed when it had stopped early and its weights were being written."""

    def on_load_checkpoint(self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Look whether it had."""
        if checkpoint["callbacks"][self.state_key]["stopped_epoch"]:
            trainer.should_stop = True


class OwnSignals(Callback):
    """Let SIGTERM do what the program wants of it.

    Lightning's handler, put before the program's, first waits for the other processes, which may be waiting for this.
    """

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Put the handler back that was there before; Lightning's stays if there was none."""
        if callable(self.handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


class MetricsTable(Callback):
    """Keep `metrics.csv` and the progress bar; rows travel in the checkpoint, so a resumed table has no gap."""

    def __init__(self, path: Path, task: Task, progress: Progress) -> None:
        self.path = path
        self.score = task.score
        self.progress = progress
        self.rows: list[dict[str, float]] = []
        self.best = -np.inf
        self.loss = np.nan

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, *rest: Any) -> None:
        """Move the bar."""
        if not trainer.is_global_zero:
            return
        if trainer.global_step % LOSS_EVERY == 1:
            self.loss = float(outputs["loss"])
        best = f", best {self.score} {self.best:.3f}" if self.rows else ""
        note = "" if np.isnan(self.loss) else f"loss {self.loss:.3f}{best}"
        self.progress(trainer.global_step, pl_module.steps, note)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Add a row for what was trained and validated since the last one."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not logged:
            # After a checkpoint at the end of an epoch, Lightning comes here once more before it goes on.
            return
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append({"step": trainer.global_step, "learning_rate": rate} | dict(sorted(logged.items())))
        self.best = max(self.best, logged.get(self.score, -np.inf))
        if trainer.is_global_zero:
            columns = list(self.rows[0])
            write_table(self.path, columns, ([row[name] for name in columns] for row in self.rows))

    def state_dict(self) -> dict[str, Any]:
        """Give the rows for the checkpoint."""
        return {"rows": self.rows, "best": float(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows, self.best = state_dict["rows"], state_dict["best"]
