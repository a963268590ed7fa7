"""Cohort statistics side by side with the bare matrix product they cannot do without.

    python benchmarks/cohort.py [--utts 145160] [--cohort 5994] [--dim 192] [--top-n 300]

Both run in their own process, one after the other, as often as asked. Prints seconds, their ratio and the peak
resident memory of each; exit status 1 when the median ratio is above --max-ratio or the memory above --max-gib.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np

from svtk.score.cohort import Cohort


def draw(num_rows: int, dim: int, seed: int) -> np.ndarray:
    """Random embeddings, float32 (N, D)."""
    return np.random.default_rng(seed).standard_normal((num_rows, dim), dtype=np.float32)


def product(utts: np.ndarray, cohort: np.ndarray, top_n: int) -> None:
    """All scores, in tiles that are overwritten."""
    tile = np.empty((512, len(cohort)), dtype=np.float32)
    for start in range(0, len(utts), 512):
        rows = utts[start : start + 512]
        np.matmul(rows, cohort.T, out=tile[: len(rows)])


def statistics_of(utts: np.ndarray, cohort: np.ndarray, top_n: int) -> None:
    """What normalize-scores computes before it sees a trial."""
    Cohort(cohort, top_n).statistics(utts)


@contextlib.contextmanager
def blas_threads(number: str | None) -> Iterator[None]:
    """What a process that starts here takes for OPENBLAS_NUM_THREADS: *number*, as the verb sets it, or all (None)."""
    before = os.environ.pop("OPENBLAS_NUM_THREADS", None)
    if number is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = number
    yield
    os.environ.pop("OPENBLAS_NUM_THREADS", None)
    if before is not None:
        os.environ["OPENBLAS_NUM_THREADS"] = before


def measure(work, shape: tuple[int, int, int, int], pipe) -> None:
    """Send seconds, and the peak memory in bytes, of one run."""
    num_utts, num_cohort, dim, top_n = shape
    utts, cohort = draw(num_utts, dim, 1), draw(num_cohort, dim, 2)
    start = time.perf_counter()
    work(utts, cohort, top_n)
    seconds = time.perf_counter() - start
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def main() -> int:
    """Run and print; 0 when within the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utts", type=int, default=145_160)
    parser.add_argument("--cohort", type=int, default=5_994)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--top-n", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-ratio", type=float, default=2.5)
    parser.add_argument("--max-gib", type=float, default=2.0)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ratios, peaks = [], []
    for repeat in range(args.repeats):
        figures = []
        for work in (product, statistics_of):
            ours, theirs = context.Pipe(duplex=False)
            shape = (args.utts, args.cohort, args.dim, args.top_n)
            process = context.Process(target=measure, args=(work, shape, theirs))
            with blas_threads("1" if work is statistics_of else None):
                process.start()
            figures.append(ours.recv())
            process.join()
        (bare, bare_peak), (full, full_peak) = figures
        ratios.append(full / bare)
        peaks.append(full_peak / 2**30)
        print(
            f"{repeat + 1}: product {bare:.2f} s, {bare_peak / 2**30:.2f} GiB; "
            f"statistics {full:.2f} s, {peaks[-1]:.2f} GiB; ratio {ratios[-1]:.2f}",
            flush=True,
        )
    ratio, peak = statistics.median(ratios), max(peaks)
    print(f"median ratio {ratio:.2f} (at most {args.max_ratio:g}), peak {peak:.2f} GiB (at most {args.max_gib:g})")
    return int(ratio > args.max_ratio or peak > args.max_gib)


if __name__ == "__main__":
    sys.exit(main())
