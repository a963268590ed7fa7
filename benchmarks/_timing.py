"""Side by side: every contestant in turn, again and again, so that what else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["machine", "side_by_side"]


def side_by_side(contestants: Mapping[str, Callable[[], object]], seconds: float, least: int = 3) -> dict[str, float]:
    """The fastest run of each, in seconds; after a warm-up, rounds go on for *seconds*, at least *least*.

    With one thread, processor time, which others' work disturbs least; with more, time on the clock, since threads
    that wait for each other also take processor time.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(contestants, float("inf"))
    for run in contestants.values():
        run()
    rounds, stop = 0, time.perf_counter() + seconds
    while rounds < least or time.perf_counter() < stop:
        for name, run in contestants.items():
            start = clock()
            run()
            best[name] = min(best[name], clock() - start)
        rounds += 1
    return best


def machine() -> str:
    """The processor, in a line."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{len(names)} × {names[0]}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
