"""Threads that work ahead. They pay where the work lets go of the interpreter lock: Pillow, numpy, files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = 2


def in_order(work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Give `work(item)` for each item, in their order, worked on by threads before it is asked for.

    An error is raised in its turn; what comes after it is dropped.

    Args:
        work: done to each item, on another thread.
        items: taken one by one, on this thread.
        ahead: results and items being worked on at a time, at most.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
