"""Prediction of millions of images on Ray Data, on this machine or a cluster. Needs the extra `cluster`.

Workers hold the model and send rows; the process that started them alone writes. So a worker that dies loses a block of
images, which another one predicts, and rows of a run that was killed cannot come in after the next has begun.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Nothing about a run is sent anywhere.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from mbdcnn.artifacts.builtin import open_model
from mbdcnn.errors import UserError
from mbdcnn.inference.names import ProtocolName, RuntimeChoice
from mbdcnn.inference.parquet import Job, Tables, predicted
from mbdcnn.inference.predictor import Predictor
from mbdcnn.system.files import exclusive
from mbdcnn.system.progress import Progress, silent

BLOCK = 128
"""Images that a worker is given at a time."""
RETRIES = 3
"""How often a block is predicted again because its worker died; an image may be what kills them."""
CORES = 2
"""Of a worker: one reads images while the other runs the networks."""


@dataclass(frozen=True)
class Cluster:
    """Where workers run."""

    address: str = "local"
    """A Ray cluster, `auto` for the one that this machine belongs to, or `local` for this machine alone."""
    workers: int | None = None
    """One for each GPU, or for each two cores where there is none, if not given."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def shares(self, cpus: float, gpus: float) -> tuple[int, float, float]:
        """Give the number of workers, and the cores and GPUs that each may have.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """
        if self.device == "cuda" and not gpus:
            raise UserError(f"device cuda: the Ray cluster {self.address} has no GPU; give --device cpu")
        gpus = 0 if self.device == "cpu" else gpus
        workers = self.workers or int(gpus) or max(1, int(cpus) // CORES)
        cores = min(CORES, cpus / workers)
        return workers, int(cores) if cores > 1 else cores, 1 / math.ceil(workers / gpus) if gpus else 0


@dataclass(frozen=True)
class Task:
    """What a worker is told."""

    model: Path
    job: Job
    device: str
    folder: Path
    """Where relative names start."""
    witness: Path
    """An image that was there at the start."""


class Worker:
    """A model in a process of its own."""

    def __init__(self, task: Task) -> None:
        self.task = task
        # Absent on a cluster's machine it is of no use, and then the images or the witness say so.
        with suppress(OSError):
            os.chdir(task.folder)
        self.predictor: Predictor | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Predict the images of a block; what is wrong with all of them is a row without a file."""
        try:
            return self._predicted([os.fsdecode(name) for name in block["image"].to_pylist()])
        except UserError as error:
            # Raised it would arrive as text among Ray's own.
            return pa.Table.from_pylist([{"file": None, "problem": str(error)}], self.task.job.schema())

    def _predicted(self, names: list[str]) -> pa.Table:
        task = self.task
        if self.predictor is None:
            self.predictor = Predictor.load(task.model, device=task.device, runtime=task.job.runtime)
        if self.predictor.bundle.provenance.fingerprint != task.job.bundle.provenance.fingerprint:
            raise UserError(f"{task.model}: another model on a worker's machine; put the same one there")
        rows = predicted(self.predictor, names, task.job)
        if rows["problem"].null_count < rows.num_rows and not task.witness.exists():
            raise UserError(
                f"{task.witness}: was there at the start and is not on a worker's machine; "
                "bring it back and run the same command again to resume"
            )
        return rows


def predict_on_cluster(
    images: Iterable[str],
    out: Path,
    cluster: Cluster,
    model: Path | None = None,
    protocol: ProtocolName = "fast",
    runtime: RuntimeChoice = "torch",
    progress: Progress = silent,
    *,
    masks: bool = True,
) -> Tables:
    """Predict images into `part-NNNNNN.parquet`, but for those that tables in the folder hold already.

    One row for each image, in no order: `parquet.predicted`. An image named twice has one row.

    Args:
        images: their files; relative names start from the current folder.
        out: folder to write; only this process does.
        cluster: where workers run. They must see images and model under the same paths.
        model: the bundle; the model that comes with the package if not given.
        protocol: how the networks are applied.
        runtime: what runs the networks.
        progress: told how many of the images that were missing are done.
        masks: write masks too.

    Raises:
        UserError: there are no images, the first ones or all of them are gone; `out` holds tables of another model,
            protocol or runtime, or another process writes it; there is no such cluster; workers died again and again;
            or the disk is full.
    """
    job = Job(open_model(model), protocol, runtime, masks)
    with exclusive(out):
        tables = Tables.open(out, job)
        missing = tables.missing(images)
        if missing:
            _predict_into(tables, missing, job, cluster, progress)
        elif not tables.held.num_rows:
            raise UserError("no images: the list is empty")
    return tables


def _predict_into(tables: Tables, images: list[bytes], job: Job, cluster: Cluster, progress: Progress) -> None:
    witness = _one_that_is_there(images)
    with _connected(cluster) as (workers, cores, gpus):
        task = Task(job.bundle.path.absolute(), job, "cuda" if gpus else "cpu", Path.cwd(), witness)
        rows = _rows(task, images, workers, cores, gpus)
        try:
            for done in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                if done["file"].null_count:
                    raise UserError(done["problem"][0].as_py())
                tables.add(done)
                progress(tables.images, len(images))
        finally:
            tables.flush()


def _rows(task: Task, images: list[bytes], workers: int, cores: float, gpus: float) -> ray.data.Dataset:
    workers = min(workers, len(images))
    size = min(BLOCK, math.ceil(len(images) / workers))
    items = [{"image": name} for name in images]
    blocks = ray.data.from_items(items, override_num_blocks=math.ceil(len(images) / size))
    with warnings.catch_warnings():
        # Without a limit of its own an image that kills its worker would do so for ever.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.* is deprecated")
        return blocks.map_batches(
            Worker,
            fn_constructor_args=(task,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cores,
            num_gpus=gpus,
            max_task_retries=RETRIES,
        )


def _one_that_is_there(images: list[bytes]) -> Path:
    """Give one of the first images that exists, so that a wrong folder is told before a million rows say so."""
    first = [os.fsdecode(name) for name in images[:1000]]
    for name in first:
        if os.path.exists(name):
            return Path(name).absolute()
    raise UserError(
        f"{first[0]}: not there, nor any other of the first {len(first)} images; relative names start from the "
        "current folder"
    )


@contextmanager
def _connected(cluster: Cluster) -> Iterator[tuple[int, float, float]]:
    """Give the workers, and the cores and GPUs of each."""
    main = threading.current_thread() is threading.main_thread()
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(cluster.address, include_dashboard=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(
            f"{cluster.address}: no Ray cluster there ({error}); "
            "ray start --head begins one, and --cluster local needs none"
        ) from None
    try:
        if main and earlier is not None:
            # Ray puts its own there, which ends the program without a word.
            signal.signal(signal.SIGTERM, earlier)
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        there = ray.cluster_resources()
        yield cluster.shares(there.get("CPU", 1), there.get("GPU", 0))
    except ray.exceptions.RayActorError:
        raise UserError(
            f"workers died {RETRIES + 1} times at the same images; start again with fewer --workers, "
            "to resume from here; why they died is in /tmp/ray/session_latest/logs"
        ) from None
    finally:
        ray.shutdown()
