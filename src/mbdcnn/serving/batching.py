"""One thread that owns the networks and takes images of many requests together; others make the answers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.prediction import Prediction
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.protocol import Inputs
from mbdcnn.serving.limits import Limits, busy
from mbdcnn.serving.metrics import Metrics

logger = logging.getLogger(__name__)

FINISHERS = 2
"""Answers made at the same time; maps of full size are in memory while one is."""


class PredictionError(Exception):
    """A prediction failed; the log says why."""


@dataclass(frozen=True, eq=False)
class Job:
    """One image to predict."""

    inputs: Inputs
    protocol: ProtocolName
    finish: Callable[[Prediction], bytes]
    """Makes the answer."""
    future: Future[bytes] = field(default_factory=Future)


class Batcher:
    """Collects jobs that arrive within a few milliseconds and predicts them in one pass.

    Args:
        predictor: used by this object's thread alone.
        limits: size of a batch, and how long to wait for more.
        metrics: told of every batch.
    """

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics) -> None:
        self._predictor = predictor
        self._limits = limits
        self._metrics = metrics
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="predictor", daemon=True)
        self._finishers = ThreadPoolExecutor(FINISHERS, thread_name_prefix="finisher")
        # What waits here can no longer be cancelled, so the networks wait where it is much.
        self._room = threading.BoundedSemaphore(FINISHERS + limits.batch)
        metrics.waiting.set_function(lambda: len(self._waiting))

    @property
    def running(self) -> bool:
        """Whether jobs are taken."""
        return self._thread.is_alive() and not self._closed

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> Future[bytes]:
        """Put a job in line; cancelling what is returned takes it out again.

        Raises:
            RefusedError: the server is stopping.
        """
        with self._changed:
            if not self.running:
                raise busy()
            self._waiting.append(job)
            self._changed.notify()
        job.future.add_done_callback(self._leave)
        return job.future

    def close(self, timeout: float | None = None) -> None:
        """Finish what is in line and stop.

        Args:
            timeout: seconds to wait for the thread's end; as long as it takes if not given.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _leave(self, future: Future[bytes]) -> None:
        """Let go of a cancelled job and its image now, not when its turn comes."""
        if future.cancelled():
            with self._changed:
                self._waiting = deque(job for job in self._waiting if job.future is not future)

    def _work(self) -> None:
        with self._finishers:
            while (jobs := self._next_batch()) is not None:
                if jobs:
                    started = time.perf_counter()
                    self._predict(jobs)
                    self._metrics.batch(len(jobs), time.perf_counter() - started)

    def _next_batch(self) -> list[Job] | None:
        """Wait for jobs of one protocol; None once closed and all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            protocol = self._waiting[0].protocol
            # The paper's protocol looks at one image after the other in any case.
            size = self._limits.batch if protocol == "fast" else 1
            self._changed.wait_for(lambda: len(self._waiting) >= size or self._closed, self._limits.batch_wait)
            batch = [job for job in self._waiting if job.protocol == protocol][:size]
            for job in batch:
                self._waiting.remove(job)
        return [job for job in batch if job.future.set_running_or_notify_cancel()]

    def _predict(self, jobs: list[Job]) -> None:
        try:
            makers = list(self._predictor.run_networks([job.inputs for job in jobs], jobs[0].protocol))
        except Exception:
            if len(jobs) == 1:
                _fail(jobs[0])
                return
            # One of them may have been the cause; the others are not to suffer for it.
            for job in jobs:
                self._predict([job])
        else:
            for job, make in zip(jobs, makers, strict=True):
                self._room.acquire()
                self._finishers.submit(_finish, job, make).add_done_callback(lambda _: self._room.release())


def _finish(job: Job, make: Callable[[], Prediction]) -> None:
    try:
        job.future.set_result(job.finish(make()))
    except Exception:
        _fail(job)


def _fail(job: Job) -> None:
    """Say why in the log, where an exception is being handled."""
    logger.exception("a prediction failed")
    job.future.set_exception(PredictionError())
