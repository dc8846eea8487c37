"""SIGTERM, which systems send to end a program, made to stop a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """How a command was asked to stop."""

    def __init__(self) -> None:
        self.number = signal.SIGINT

    @property
    def code(self) -> int:
        """The exit code that tells a shell of the signal."""
        return 128 + self.number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.number = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let SIGTERM raise a KeyboardInterrupt in the block, so that it clears up after itself."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, earlier or signal.SIG_DFL)
