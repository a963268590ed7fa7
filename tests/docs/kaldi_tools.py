"""Stand-ins for the Kaldi programs that docs/kaldi.md calls, where Kaldi itself is not installed.

What they read and write goes through kaldi_native_io, which is Kaldi's own C++ table code: a table that they take is
one that Kaldi takes. Their PLDA is svtk's own. Run as ``python kaldi_tools.py PROGRAM ARG...``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import kaldi_native_io
import numpy as np


def vectors(rspecifier: str) -> Iterator[tuple[str, np.ndarray]]:
    with kaldi_native_io.SequentialFloatVectorReader(rspecifier) as reader:
        for key, vector in reader:
            yield key, np.array(vector)


def write_vectors(wspecifier: str, rows: Iterator[tuple[str, np.ndarray]]) -> None:
    with kaldi_native_io.FloatVectorWriter(wspecifier) as writer:
        for key, row in rows:
            writer.write(key, row.astype(np.float32))


def token_lists(rspecifier: str) -> Iterator[tuple[str, list[str]]]:
    with kaldi_native_io.SequentialTokenVectorReader(rspecifier) as reader:
        for key, tokens in reader:
            yield key, list(tokens)


def lines(rxfilename: str) -> list[list[str]]:
    """Of a text file or ``command |``."""
    if rxfilename.endswith("|"):
        text = subprocess.run(rxfilename[:-1], shell=True, capture_output=True, text=True, check=True).stdout
    else:
        with open(rxfilename) as file:
            text = file.read()
    return [line.split() for line in text.splitlines()]


def copy_vector(rspecifier: str, wspecifier: str) -> None:
    write_vectors(wspecifier, vectors(rspecifier))


def ivector_mean(*args: str) -> None:
    if len(args) == 2:
        mean = np.mean([row for _, row in vectors(args[0])], axis=0)
        kaldi_native_io.FloatVector(mean).write(args[1], False)
        return
    rows = dict(vectors(args[1]))
    spk2utt = list(token_lists(args[0]))
    write_vectors(args[2], ((spk, np.mean([rows[utt] for utt in utts], axis=0)) for spk, utts in spk2utt))
    if len(args) == 4:
        with kaldi_native_io.Int32Writer(args[3]) as writer:
            for spk, utts in spk2utt:
                writer.write(spk, len(utts))


def ivector_subtract_global_mean(*args: str) -> None:
    rows = list(vectors(args[-2]))
    mean = (
        np.array(kaldi_native_io.FloatVector.read(args[0]))
        if len(args) == 3
        else np.mean([row for _, row in rows], axis=0)
    )
    write_vectors(args[-1], ((key, row - mean) for key, row in rows))


def ivector_normalize_length(rspecifier: str, wspecifier: str) -> None:
    scaled = ((key, row * np.sqrt(len(row)) / np.linalg.norm(row)) for key, row in vectors(rspecifier))
    write_vectors(wspecifier, scaled)


def ivector_compute_dot_products(trials: str, enroll: str, test: str, scores: str) -> None:
    left, right = dict(vectors(enroll)), dict(vectors(test))
    with open(scores, "w") as file:
        file.writelines(f"{a} {b} {left[a] @ right[b]:g}\n" for a, b, *_ in lines(trials))


def ivector_compute_plda(spk2utt: str, rspecifier: str, plda: str) -> None:
    from svtk.kaldi.plda import write_plda
    from svtk.score.plda import train_plda

    rows = dict(vectors(rspecifier))
    labels = {utt: n for n, (_, utts) in enumerate(token_lists(spk2utt)) for utt in utts}
    write_plda(plda, train_plda(np.stack(list(rows.values())), np.array([labels[utt] for utt in rows])))


def ivector_copy_plda(plda: str, out: str) -> None:
    from svtk.kaldi.plda import read_plda, write_plda

    write_plda("/dev/stdout" if out == "-" else out, read_plda(plda), text=True)


def ivector_plda_scoring(plda: str, enroll: str, test: str, trials: str, scores: str) -> None:
    from svtk.kaldi.plda import read_plda
    from svtk.score.plda import PldaScorer, project

    model, left, right = read_plda(plda), dict(vectors(enroll)), dict(vectors(test))
    pairs = [(a, b) for a, b in lines(trials)]  # as Kaldi: two columns, no labels
    sides = np.stack([left[a] for a, _ in pairs]), np.stack([right[b] for _, b in pairs])
    scorer = PldaScorer(model, *(project(model, side) for side in sides))
    ratios = scorer.pairs(*[np.arange(len(pairs))] * 2)
    with open(scores, "w") as file:
        file.writelines(f"{a} {b} {ratio:g}\n" for (a, b), ratio in zip(pairs, ratios, strict=True))


if __name__ == "__main__":
    options = [word for word in sys.argv[2:] if word.startswith("--")]
    globals()[sys.argv[1].replace("-", "_")](*(word for word in sys.argv[2:] if word not in options))
