"""Score files of any length, block by block: what is held is one block."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.text import read_text
from svtk.kaldi.trials import Scores

__all__ = ["read_score_blocks", "score_lines"]

_LINES = 1 << 16  # per block


def read_score_blocks(rxfilename: str | os.PathLike) -> Iterator[tuple[int, Scores]]:
    """Yield ``(line, scores)``: the number of a block's first line, counted from 1, and its finite scores.

    Raises:
        DataError: an empty file, a line that is not ``enroll test score``, or a score that is no finite number.
    """
    lines = read_text(rxfilename)
    first = 1
    while block := list(islice(lines, _LINES)):
        rows = [line.split() for line in block]
        try:
            enroll, test, values = zip(*rows, strict=True)
            scores = np.array(list(map(float, values)))
        except ValueError:
            raise _malformed(rows, rxfilename, first) from None
        if not np.isfinite(scores).all():
            raise _malformed(rows, rxfilename, first)
        yield first, Scores(list(enroll), list(test), scores)
        first += len(block)
    if first == 1:
        raise DataError("the score file is empty", path=rxfilename)


def _is_score(row: list[str]) -> bool:
    try:
        return len(row) == 3 and bool(np.isfinite(float(row[2])))
    except ValueError:
        return False


def _malformed(rows: list[list[str]], path: str | os.PathLike, first: int) -> DataError:
    bad = next(i for i, row in enumerate(rows) if not _is_score(row))
    expected = "'ENROLL TEST SCORE' with a finite score"
    return DataError("malformed score", path=path, line=first + bad, found=repr(" ".join(rows[bad])), expected=expected)


def score_lines(scores: Scores) -> Iterator[str]:
    """The lines of a score file, as :func:`svtk.kaldi.trials.write_scores` writes them."""
    for enroll, test, score in zip(scores.enroll, scores.test, scores.scores.tolist(), strict=True):
        yield f"{enroll} {test} {score:.6f}"
