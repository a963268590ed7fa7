"""Cached teacher targets: their size on disk, how fast crops of them are read, what compression does to the loss.

    python benchmarks/targets.py --teacher TEACHER [--utterances 200] [--seconds 5] DATA_DIR

Extracts the last hidden states of the first utterances of DATA_DIR into a temporary directory, in each of the formats
of extract-targets. Crops of 3 s are then read in one random order from all of them in turn, twenty at a time, so that
a busy machine slows all alike; "whole" reads the whole matrix and cuts it, as any reader of Kaldi tables can. Files
are in the system's cache: it is the decoding that is timed, not the disk. The error is between what is read and the
float32 states: its mean square, which is what hidden_mse between a perfect student and the compressed states would
be, beside the variance of the states within their dimensions, which is the loss of a student that says the mean.
"float16" is rounded in memory: Kaldi has no half matrices, and two-byte takes as much room.

Then the time of the teacher alone, of several utterances at once (--batch-duration of extract-targets) and one by one,
in turn, and the same in bfloat16.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _timing import machine, side_by_side

from svtk.data import FRAME, SAMPLE_RATE
from svtk.data.cuts import load_utterances
from svtk.data.targets import Targets, TargetsInfo
from svtk.extract.targets import extract_targets, states_of
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.kaldi.tables import ScpReader
from svtk.models.teacher import load_teacher

CROP = 150  # frames
FORMATS = ("none", "two-byte", "auto")


def measure(data: str, teacher: str, num_utts: int, seconds: float, device: str) -> list[tuple]:
    """Rows (format, MB an hour, crops/s, crops/s from whole matrices, mean square error, share of the variance)."""
    with tempfile.TemporaryDirectory() as root:
        subset = write_data_dir(f"{root}/data", read_data_dir(data).utterances[:num_utts])
        for name in FORMATS:
            extract_targets(teacher, str(subset.path), f"{root}/{name}", compress=name, device=device)
        layer = Targets(f"{root}/none", []).info.layers[0]
        tables = {name: ScpReader(f"{root}/{name}/layer{layer}.scp") for name in FORMATS}
        cached = {name: Targets(f"{root}/{name}", [layer]) for name in FORMATS}
        exact = {utt: tables["none"][utt] for utt in tables["none"]}
        hours = sum(map(len, exact.values())) * FRAME / SAMPLE_RATE / 3600

        rng = np.random.default_rng(0)
        crops = [(utt, int(rng.integers(max(0, len(m) - CROP) + 1))) for utt, m in exact.items()]

        def rows(name: str) -> Callable[[str, int], object]:
            return lambda utt, start: cached[name].read(utt, start, CROP - 1)

        def whole(name: str) -> Callable[[str, int], object]:
            return lambda utt, start: tables[name][utt][start : start + CROP - 1].copy()

        readers = {(name, how.__name__): how(name) for name in FORMATS for how in (rows, whole)}
        fastest = _crops_per_second(readers, crops, seconds)
        states = np.concatenate(list(exact.values()))
        variance = float(states.var(axis=0, dtype=np.float64).mean())
        result = []
        for name in (*FORMATS, "float16"):
            if name == "float16":
                error = _mean_square(states.astype(np.float16).astype(np.float32) - states)
                result.append((name, 2 * states.size / hours / 1e6, None, None, error, error / variance))
                continue
            error = _mean_square(np.concatenate([tables[name][utt] for utt in exact]) - states)
            size = Path(f"{root}/{name}/layer{layer}.ark").stat().st_size / hours / 1e6
            result.append((name, size, fastest[name, "rows"], fastest[name, "whole"], error, error / variance))
        return result


def batches(
    data: str, teacher: str, num_utts: int, seconds: float, device: str, durations: tuple[float, ...]
) -> list[tuple[str, float]]:
    """Rows (how the teacher hears the utterances, audio in seconds per second)."""
    model = load_teacher(teacher).to(device)
    items = list(load_utterances(data))[:num_utts]
    audio = sum(max(item.num_samples, 3 * SAMPLE_RATE) for item in items) / SAMPLE_RATE

    def hear(duration: float, precision: str) -> Callable[[], None]:
        info = TargetsInfo(teacher, "", model.hidden_dim, model.num_hidden, [-1], 3.0, "none", precision=precision)
        return lambda: [None for _ in states_of(model, items, info, duration, device)]

    ways = {
        f"{precision}, {f'{duration:g} s at once' if duration else 'one by one'}": hear(duration, precision)
        for precision in ("fp32", "bf16")
        for duration in (0.0, *durations)
    }
    return [(name, audio / best) for name, best in side_by_side(ways, seconds).items()]


def _mean_square(array: np.ndarray) -> float:
    return float(np.mean(np.square(array, dtype=np.float64)))


def _crops_per_second(readers: dict, crops: list[tuple[str, int]], seconds: float) -> dict:
    """The fastest of many turns of each; a turn is 20 crops."""
    best = dict.fromkeys(readers, 0.0)
    stop, turn = time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < stop:
        some = [crops[(20 * turn + i) % len(crops)] for i in range(20)]
        for name, read in readers.items():
            start = time.process_time()
            for utt, first in some:
                read(utt, first)
            best[name] = max(best[name], len(some) / (time.process_time() - start))
        turn += 1
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA_DIR")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-durations", type=float, nargs="+", default=[10.0, 40.0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| format | MB an hour and layer | crops/s | crops/s, whole matrices | mean square error | ÷ variance |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, size, fast, slow, error, share in measure(
        args.data, args.teacher, args.utterances, args.seconds, args.device
    ):
        speeds = f"{fast:.0f} | {slow:.0f}" if fast else "|"
        print(f"| {name} | {size:.1f} | {speeds} | {error:.2e} | {share:.2e} |")
    print(f"\n{machine()}\n\n| the teacher | seconds of audio per second | ÷ one by one |")
    print("|---|---:|---:|")
    rows = batches(args.data, args.teacher, args.utterances, args.seconds, args.device, tuple(args.batch_durations))
    for name, speed in rows:
        print(f"| {name} | {speed:.1f} | {speed / rows[0][1]:.2f} |")


if __name__ == "__main__":
    main()
