"""Whole processes of svtk compute-metrics, beside reading line by line with scikit-learn's det_curve.

    python benchmarks/metrics.py [--trials 1000000] [--repeats 3] [--big 100000000] [--min-ratio 5]

Writes random scores and a trial list of VoxCeleb's keys in a temporary directory (about 130 bytes a trial), then runs
the verb and the yardstick in turn, each from start to exit, and prints the best run's seconds and peak resident memory
of either, and their ratio. The yardstick reads both files in Python, joins labels by a dict of pairs, and calls
det_curve of scikit-learn (pip install scikit-learn), which yields EER and minDCF only. Then, with --big, one more run
of the verb alone on so many trials; and the seconds that 1000 draws of speakers add to --bootstrap-trials of them.
Exit status 1 when the ratio is below --min-ratio, or the big run takes more than --max-seconds or --max-gib.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUM_SPKS, NUM_UTTS = 1251, 145_160
VERB = [sys.executable, "-m", "svtk", "compute-metrics", "--json"]
YARDSTICK = """
import sys
import numpy as np
from sklearn.metrics import det_curve
key = {}
for line in open(sys.argv[2]):
    enroll, test, label = line.split()
    key[enroll, test] = label == 'target'
scores, labels = [], []
for line in open(sys.argv[1]):
    enroll, test, score = line.split()
    scores.append(float(score))
    labels.append(key[enroll, test])
fa, miss, _ = det_curve(labels, scores)
print(miss[np.argmin(abs(miss - fa))], (0.05 * miss + 0.95 * fa).min() / 0.05)
"""


def write_files(place: Path, name: str, num_trials: int) -> list[str]:
    """Scores and a trial list in the same order, a million lines at a time; a tenth are targets."""
    keys = pa.array([f"id{10000 + i % NUM_SPKS}/{i * 7919 % 99999989:011}/{i % 400:05}.wav" for i in range(NUM_UTTS)])
    rng = np.random.default_rng(0)
    files = [place / f"{name}.{what}" for what in ("scores", "trials")]
    with files[0].open("wb") as scores, files[1].open("wb") as trials:
        for start in range(0, num_trials, 1_000_000):
            size = min(1_000_000, num_trials - start)
            labels = rng.random(size) < 0.1
            enroll = rng.integers(0, NUM_UTTS - NUM_SPKS, size)
            test = np.where(labels, enroll + NUM_SPKS, rng.integers(0, NUM_UTTS, size))
            test += ~labels & ((enroll - test) % NUM_SPKS == 0)
            sides = [keys.take(pa.array(side % NUM_UTTS)) for side in (enroll, test)]
            numbers = pa.array((rng.normal(size=size) + 3 * labels).round(6)).cast(pa.string())
            words = pc.if_else(pa.array(labels), "target", "nontarget")
            for file, last in ((scores, numbers), (trials, words)):
                lines = pc.binary_join_element_wise(*sides, pc.binary_join_element_wise(last, "\n", ""), " ")
                file.write(memoryview(lines.buffers()[2])[: pc.sum(pc.binary_length(lines)).as_py()])
    return [str(file) for file in files]


def run(words: list[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak resident GiB of a process, whose output goes nowhere."""
    start = time.perf_counter()
    devnull = os.open(os.devnull, os.O_WRONLY)
    process = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1)])
    os.close(devnull)
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        sys.exit(f"{' '.join(words[1:])[:200]} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main() -> int:
    """Run and print; 0 when within the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bootstrap-trials", type=int, default=580_000, help="as many as VoxCeleb1-E; 0: none")
    parser.add_argument("--big", type=int, default=0, help="trials of one more run of the verb alone")
    parser.add_argument("--dir", help="where files are written (default: a temporary directory)")
    parser.add_argument("--min-ratio", type=float)
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--max-gib", type=float)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(dir=args.dir) as where:
        place = Path(where)
        files = write_files(place, "small", args.trials)
        ours, theirs = [], []
        for _ in range(args.repeats):
            ours.append(run([*VERB, *files]))
            theirs.append(run([sys.executable, "-c", YARDSTICK, *files]))
        ratio = min(theirs)[0] / min(ours)[0]
        for name, runs in (("svtk", ours), ("line by line, scikit-learn", theirs)):
            wall, cpu, gib = min(runs)
            print(f"{args.trials} trials, {name}: {wall:.2f} s ({cpu:.2f} s of processors), {gib:.2f} GiB")
        print(f"ratio {ratio:.1f}", flush=True)
        failed |= args.min_ratio is not None and ratio < args.min_ratio
        if args.bootstrap_trials:
            files = write_files(place, "some", args.bootstrap_trials)
            with open(files[1]) as lines:
                keys = {word for line in lines for word in line.split()[:2]}
            (place / "utt2spk").write_text("".join(f"{key} {key.split('/')[0]}\n" for key in keys))
            plain, drawn = (run([*VERB, *words, *files]) for words in ([], [f"--utt2spk={place}/utt2spk"]))
            added = f"{drawn[0] - plain[0]:.1f} s more, {drawn[2]:.2f} GiB"
            print(f"{args.bootstrap_trials} trials, 1000 draws of {NUM_SPKS} speakers: {added}", flush=True)
        if args.big:
            files = write_files(place, "big", args.big)
            seconds, cpu, gib = run([*VERB, *files])
            size = sum(os.path.getsize(file) for file in files) / 2**30
            print(
                f"{args.big} trials, {size:.1f} GiB of text: {seconds:.1f} s ({cpu:.1f} s of processors), {gib:.2f} GiB"
            )
            failed |= args.max_seconds is not None and seconds > args.max_seconds
            failed |= args.max_gib is not None and gib > args.max_gib
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
