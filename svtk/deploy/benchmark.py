"""Speed and memory of models side by side: every variant in a process of its own, run in turns.

A variant is a model with an engine, a batch size and a number of threads. All are loaded and warmed up first; then each
round embeds one batch by every variant, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from svtk.data import SAMPLE_RATE
from svtk.errors import ModelError, SvtkError
from svtk.models.exported import ExportedModel, open_embedder
from svtk.models.speaker_model import is_exported
from svtk.progress import progress

__all__ = ["ENGINES", "Result", "Variant", "benchmark", "format_results", "save_beside", "variants"]

Engine = Literal["eager", "optimized", "bfloat16", "compiled", "onnx"]
#: how a MODEL_DIR can be run; an exported directory is run by onnx
ENGINES: tuple[Engine, ...] = ("eager", "optimized", "bfloat16", "compiled")
_WARM_UP = 3  # runs; the first of a compiled model compiles


@dataclasses.dataclass(frozen=True)
class Variant:
    """One thing to measure; ``batch`` is the number of utterances embedded at a time."""

    model: str
    engine: Engine
    batch: int
    threads: int


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured of a variant.

    Attributes:
        rtf: real-time factor, the median seconds that one second of audio takes.
        latency_p50_s, latency_p95_s: median and 95th percentile of the seconds that a batch takes.
        peak_memory_mib: the most memory that the process held, Python and libraries included.
        duration: seconds of audio of one utterance.
        rounds: number of timed runs.
    """

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    rtf: float
    latency_p50_s: float
    latency_p95_s: float
    peak_memory_mib: float
    duration: float
    rounds: int


def variants(
    models: Sequence[str], engines: Sequence[Engine], batches: Sequence[int], threads: Sequence[int]
) -> list[Variant]:
    """Every model with every engine, batch size and number of threads, in this order; exported ones with onnx."""
    return [
        Variant(model, engine, batch, count)
        for batch, count in itertools.product(batches, threads)
        for model in models
        for engine in (("onnx",) if is_exported(model) else engines)
    ]


def benchmark(chosen: Sequence[Variant], duration: float = 3.0, rounds: int = 20) -> list[Result]:
    """Measure variants side by side; one result for each, in their order.

    Args:
        chosen: what to measure. All are in memory at the same time.
        duration: seconds of noise, as one utterance; embedded by windows that cover it.
        rounds: timed runs of each.

    Raises:
        ModelError: a model cannot be loaded or run; the message names it.
    """
    workers: list[_Worker] = []
    try:
        for variant in chosen:
            workers.append(_Worker(variant, duration))
        for worker in workers:
            worker.answer()
        seconds = [[worker.ask("run") for worker in workers] for _ in progress(range(rounds), "rounds", unit="round")]
        memory = [worker.ask("memory") for worker in workers]
    finally:
        for worker in workers:
            worker.stop()
    results = []
    for variant, worker, taken, mib in zip(chosen, workers, zip(*seconds, strict=True), memory, strict=True):
        p50, p95 = np.quantile(taken, [0.5, 0.95])
        results.append(
            Result(
                **dataclasses.asdict(variant) | {"engine": worker.engine},
                precision=worker.precision,
                rtf=float(p50) / (variant.batch * duration),
                latency_p50_s=float(p50),
                latency_p95_s=float(p95),
                peak_memory_mib=mib,
                duration=duration,
                rounds=rounds,
            )
        )
    return results


class _Worker:
    """The process of one variant, and what it is asked."""

    def __init__(self, variant: Variant, duration: float):
        self.variant = variant
        self.engine, self.precision = variant.engine, "float32"
        if variant.engine == "bfloat16":
            self.engine, self.precision = "optimized", "bfloat16"
        elif variant.engine == "onnx":
            self.precision = ExportedModel(Path(variant.model), 1).info.precision
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process's threads and memory
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, variant, duration), daemon=True)
        self.process.start()
        theirs.close()

    def answer(self) -> Any:
        """What the process sends next.

        Raises:
            ModelError: it failed or died.
        """
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            kind, value = "error", f"its process {_ending(self.process.exitcode)}"
        if kind == "error":
            raise ModelError(f"cannot be measured by engine {self.variant.engine}: {value}", path=self.variant.model)
        return value

    def ask(self, what: str) -> Any:
        with contextlib.suppress(OSError):  # of a process that died, which the answer tells
            self.pipe.send(what)
        return self.answer()

    def stop(self) -> None:
        """End the process, which leaves nothing behind."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _ending(status: int) -> str:
    """What became of a process that gave no answer, by its exit status."""
    if status == -signal.SIGKILL:
        return "was killed, as one is that takes more memory than there is"
    return f"ended with status {status}"


def _serve(pipe: Connection, variant: Variant, duration: float) -> None:
    """Load and warm up; then answer ``run`` with seconds and ``memory`` with MiB until the pipe is closed."""
    try:
        run = _embedding(variant, duration)
        for _ in range(_WARM_UP):
            run()
        pipe.send(("ready", None))
        while True:
            if pipe.recv() == "memory":
                pipe.send(("memory", _peak_memory()))
                continue
            start = time.perf_counter()
            run()
            pipe.send(("seconds", time.perf_counter() - start))
    except EOFError:
        return
    except Exception as error:
        text = str(error) if isinstance(error, SvtkError) else f"{type(error).__name__}: {error}".splitlines()[0]
        pipe.send(("error", text))


def _embedding(variant: Variant, duration: float) -> Callable[[], Any]:
    """A call that embeds one batch."""
    import torch

    torch.set_num_threads(variant.threads)
    torch.manual_seed(0)
    model = open_embedder(variant.model, num_threads=variant.threads)
    if variant.engine in ("optimized", "bfloat16"):
        model = model.for_inference("float32" if variant.engine == "optimized" else "bfloat16")
    elif variant.engine == "compiled":
        model.encoder.compile()
        model.backend.compile()
    samples = max(round(duration * SAMPLE_RATE), model.window_samples)
    wavs = [0.1 * torch.randn(samples) for _ in range(variant.batch)]
    windows = variant.batch * -(-samples // model.window_samples)
    return lambda: model.embed_cover(wavs, windows)


def _peak_memory() -> float:
    """MiB; of this program alone where the kernel tells it, not of the one that started it."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def save_beside(results: Sequence[Result]) -> None:
    """Write each model's results to ``benchmark.json`` in its directory, where ``report`` looks for it."""
    import json

    for model in dict.fromkeys(result.model for result in results):
        own = [dataclasses.asdict(result) for result in results if result.model == model]
        file = Path(model) / "benchmark.json"
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps({"results": own}, indent=1) + "\n", encoding="utf-8")
        os.replace(part, file)


def format_results(results: Sequence[Result]) -> str:
    """An aligned table; the last column compares the speed with that of the first row of the same batch and threads."""
    header = ("model", "engine", "precision", "batch", "threads")
    header += ("RTF", "x real time", "p50 (ms)", "p95 (ms)", "peak (MiB)", "x first")
    rows, first = [header], {}
    for r in results:
        reference = first.setdefault((r.batch, r.threads), r.rtf)
        numbers = (f"{r.rtf:.5f}", f"{1 / r.rtf:.1f}", f"{1e3 * r.latency_p50_s:.2f}", f"{1e3 * r.latency_p95_s:.2f}")
        settings = (r.model, r.engine, r.precision, str(r.batch), str(r.threads))
        rows.append((*settings, *numbers, f"{r.peak_memory_mib:.0f}", f"{reference / r.rtf:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names = 3  # columns that are names
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < names else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
