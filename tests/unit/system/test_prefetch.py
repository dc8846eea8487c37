"""Work that threads do ahead comes back in order, in bounded number, with its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from mbdcnn.system.prefetch import THREADS, in_order


def test_results_keep_the_order_of_their_items_whichever_is_done_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(slow_at_first, range(20), 6)) == [item * item for item in range(20)]


def test_no_items_give_no_results() -> None:
    assert list(in_order(str, [], 3)) == []


def test_no_more_than_so_many_are_taken_ahead() -> None:
    items = count()
    results = in_order(str, items, 5)
    assert next(results) == "0"
    assert next(items) == 5
    results.close()  # type: ignore[attr-defined]


def test_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(THREADS, timeout=10)
    assert len(list(in_order(lambda _: meeting.wait(), range(THREADS), THREADS))) == THREADS


def test_an_error_comes_in_its_turn_and_ends_the_work() -> None:
    done = []

    def fail_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        done.append(item)
        return item

    results = in_order(fail_at_three, range(1000), 4)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(done) < 20
    assert list(results) == []


def test_items_are_taken_on_the_thread_that_asks() -> None:
    def items() -> Iterator[int]:
        yield threading.get_ident()

    worker_and_asker = list(in_order(lambda asker: (threading.get_ident(), asker), items(), 1))
    assert worker_and_asker[0][1] == threading.get_ident()
    assert worker_and_asker[0][0] != threading.get_ident()
