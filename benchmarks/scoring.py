"""Whole processes of svtk score (cosine, PLDA) and normalize-scores (as-norm), beside loops over pairs.

    python benchmarks/scoring.py [--trials 10000000] [--utts 145160] [--dim 192] [--cohort 5994] [--methods cosine,...]

Makes random embeddings, a PLDA model and a trial list in a temporary directory, runs the verb from start to exit
as often as asked, and prints the best run's seconds, trials per second and peak resident memory; then, for each
yardstick, what it does with --pairs pairs and how many times as fast the verb is. The yardsticks score trial by trial
in Python, vectors looked up in a dict: NumPy's dot product; torch's CosineSimilarity, as SpeechBrain; one call of
scikit-learn's cosine_similarity a trial, as WeSpeaker (pip install scikit-learn; left out where it is not); NumPy
with cohort statistics of both sides a trial; a PLDA ratio a trial. Exit status 1 when a method reaches --min-ratio
over none of its yardsticks, or cosine takes more than --max-seconds or --max-gib.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from svtk.kaldi.plda import Plda, write_plda
from svtk.kaldi.tables import TableWriter
from svtk.score.plda import PldaScorer, project

METHODS = ("cosine", "plda", "as-norm")


def draw(rng: np.random.Generator, wspecifier: str, keys: list[str], dim: int) -> np.ndarray:
    """Write random embeddings, float32 (N, D)."""
    rows = rng.standard_normal((len(keys), dim), dtype=np.float32)
    with TableWriter(wspecifier) as writer:
        for key, row in zip(keys, rows, strict=True):
            writer.write(key, row)
    return rows


def write_trials(rng: np.random.Generator, path: Path, keys: list[str], num_trials: int) -> None:
    """Random pairs, unlabelled."""
    with path.open("w") as file:
        for start in range(0, num_trials, 1 << 17):
            pairs = rng.integers(0, len(keys), (min(1 << 17, num_trials - start), 2)).tolist()
            file.write("".join(f"{keys[e]} {keys[t]}\n" for e, t in pairs))


def run(words: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a process."""
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "svtk", *words], os.environ)
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        sys.exit(f"svtk {' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


Vectors = Callable[[np.ndarray, np.ndarray], float]


def yardsticks(method: str, cohort: np.ndarray, plda: Plda, top_n: int) -> dict[str, Vectors]:
    """Functions of one trial's vectors (D,), by name."""

    def cosine(u: np.ndarray, v: np.ndarray) -> float:
        return float(np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))

    if method == "plda":

        def ratio(u: np.ndarray, v: np.ndarray) -> float:
            return float(PldaScorer(plda, project(plda, u[None]), project(plda, v[None])).tile()[0, 0])

        return {"numpy": ratio}
    if method == "as-norm":
        cohort = cohort / np.linalg.norm(cohort, axis=1, keepdims=True)

        def normalized(u: np.ndarray, v: np.ndarray) -> float:
            score, total = cosine(u, v), 0.0
            for side in (u, v):
                best = np.sort(cohort @ (side / np.linalg.norm(side)))[-top_n:]
                total += (score - best.mean()) / best.std()
            return total / 2

        return {"numpy": normalized}
    found: dict[str, Vectors] = {"numpy": cosine}
    import torch

    similarity = torch.nn.CosineSimilarity(dim=-1, eps=1e-6)
    found["torch"] = lambda u, v: float(similarity(torch.from_numpy(u)[None], torch.from_numpy(v)[None])[0])
    with contextlib.suppress(ImportError):
        from sklearn.metrics.pairwise import cosine_similarity

        found["scikit-learn"] = lambda u, v: float(cosine_similarity(u.reshape(1, -1), v.reshape(1, -1))[0][0])
    return found


def loop(score: Vectors, rows: np.ndarray, num_pairs: int) -> float:
    """Trials per second of a yardstick."""
    table = {str(i): row for i, row in enumerate(rows)}
    pairs = [(str(e), str(t)) for e, t in np.random.default_rng(1).integers(0, len(rows), (num_pairs, 2)).tolist()]
    score(rows[0], rows[1])  # what is imported or set up at the first call
    start = time.perf_counter()
    lines = [f"{e} {t} {score(table[e], table[t]):.6f}\n" for e, t in pairs]
    return len(lines) / (time.perf_counter() - start)


def main() -> int:
    """Run and print; 0 when within the limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000_000)
    parser.add_argument("--utts", type=int, default=145_160)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--cohort", type=int, default=5_994)
    parser.add_argument("--top-n", type=int, default=300)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--pairs", type=int, default=2000, help="of each yardstick")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--min-ratio", type=float)
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--max-gib", type=float)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{args.trials} trials, {args.utts} embeddings of {args.dim}, cohort of {args.cohort}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as where:
        place = Path(where)
        keys = [f"id{10000 + i % 1251}/{i * 7919 % 99999989:011}/{i % 400:05}.wav" for i in range(args.utts)]
        rows = draw(rng, f"ark:{place}/e.ark", keys, args.dim)
        cohort = draw(rng, f"ark:{place}/c.ark", [f"c{i}" for i in range(args.cohort)], args.dim)
        plda = Plda(np.zeros(args.dim), np.linalg.qr(rng.normal(size=(args.dim,) * 2))[0], np.linspace(9, 0, args.dim))
        write_plda(place / "plda", plda)
        write_trials(rng, place / "trials", keys, args.trials)
        files = ["trials", "ark:e.ark", "ark:e.ark", "scores"]
        os.chdir(place)
        verbs = {
            "cosine": ["score", *files],
            "plda": ["score", "--method=plda", "--plda=plda", *files[:3], "plda_scores"],
            "as-norm": ["normalize-scores", "--cohort=ark:c.ark", f"--top-n={args.top_n}"]
            + ["scores", *files[1:3], "normalized"],
        }
        if "as-norm" in args.methods.split(",") and "cosine" not in args.methods.split(","):
            run(verbs["cosine"])
        for method in args.methods.split(","):
            seconds, peak = min(run(verbs[method]) for _ in range(args.repeats))
            speed = args.trials / seconds
            print(f"{method}: {seconds:.2f} s, {speed:.0f} trials/s, {peak / 2**30:.2f} GiB", flush=True)
            ratios = []
            for name, score in yardsticks(method, cohort, plda, args.top_n).items():
                theirs = loop(score, rows, args.pairs)
                ratios.append(speed / theirs)
                print(f"  {name}, trial by trial: {theirs:.0f} trials/s; ratio {ratios[-1]:.0f}", flush=True)
            failed |= args.min_ratio is not None and max(ratios) < args.min_ratio
            if method == "cosine":
                failed |= args.max_seconds is not None and seconds > args.max_seconds
                failed |= args.max_gib is not None and peak / 2**30 > args.max_gib
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
