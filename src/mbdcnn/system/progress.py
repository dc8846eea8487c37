"""Progress of long work: reported by whoever does it, drawn by whoever started it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told after each piece of work how much is done."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Take `done` of `total` pieces, and a few words about how it goes."""


def silent(done: int, total: int, note: str = "") -> None:
    """Draw nothing."""


@contextmanager
def bar(title: str, *, quiet: bool = False, of_bytes: bool = False) -> Iterator[Progress]:
    """Draw a progress bar on standard error, from the first report until the block ends; pieces may be bytes."""
    if quiet:
        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        DownloadColumn() if of_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bars = Bars(*columns, console=Console(stderr=True))
    task = bars.add_task(title, total=None, note="")

    def report(done: int, total: int, note: str = "") -> None:
        bars.start()
        bars.update(task, completed=done, total=total, note=note)

    try:
        yield report
    finally:
        bars.stop()
