"""Work on the blocks of a long file by several threads, in the file's order and in constant memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from svtk.progress import progress

__all__ = ["in_order", "num_threads_wanted", "with_progress"]

R = TypeVar("R")

_QUIET = 16  # blocks, a second or two, that are worth no progress


def num_threads_wanted() -> int:
    """As many threads as BLAS takes: OMP_NUM_THREADS, or the processors we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))


def in_order(work: Callable[..., R], blocks: Iterable[tuple[Any, ...]], num_threads: int | None = None) -> Iterator[R]:
    """Yield ``work(*block)`` of every block in turn; at most *num_threads* and one are held at a time.

    The first exception that *work* raises, in the order of the blocks, ends it.

    Args:
        work: is called by several threads.
        blocks: its arguments; read by the caller's thread.
        num_threads: None: :func:`num_threads_wanted`.

    >>> list(in_order(pow, [(2, 3), (3, 2)], num_threads=2))
    [8, 9]
    """
    num_threads = num_threads or num_threads_wanted()
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(work, *block))
                if len(waiting) > num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def with_progress(results: Iterator[R], what: str) -> Iterator[R]:
    """The same, shown by :func:`svtk.progress.progress` when there are many."""
    yield from islice(results, _QUIET)
    for result in results:
        yield result
        yield from progress(results, what, unit="block")
