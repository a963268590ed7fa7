"""Progress of long work: a tqdm bar on a terminal, plain lines in a log, always on stderr.

``SVTK_PROGRESS=bar`` asks for the bar where stderr is a pipe that ends at a terminal, as under ``tee``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["bar_wanted", "progress"]

T = TypeVar("T")
_LOG_EVERY = 30.0  # seconds between plain lines


def bar_wanted() -> bool:
    """Whether stderr ends at a terminal."""
    return sys.stderr.isatty() or os.environ.get("SVTK_PROGRESS") == "bar"


def progress(items: Iterable[T], desc: str, total: int | None = None, unit: str = "utt") -> Iterator[T]:
    """Iterate *items* and show how far it is.

    Args:
        items: what to iterate.
        desc: what the work is, for the bar or the log line.
        total: number of items when *items* has no length.
        unit: what one item is.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if bar_wanted():
        yield from tqdm(items, desc=desc, total=total, unit=unit, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _LOG_EVERY:
            last = now
            of = "" if total is None else f"/{total}"
            left = "" if not total else f", {(now - start) / count * (total - count):.0f} s left"
            logging.info("%s: %d%s %s, %.0f s%s", desc, count, of, unit, now - start, left)
    logging.info("%s: %d %s in %.1f s", desc, count, unit, time.monotonic() - start)
