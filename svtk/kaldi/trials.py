"""Trial lists and score files.

Two trial layouts, told apart by their content: Kaldi's ``enroll test [target|nontarget]`` and
VoxCeleb's ``1 enroll test``. Scores are ``enroll test score``, one line per trial. Both are read from an
rxfilename (a path, ``-``, ``command |``) and written to a wxfilename (a path, ``-``, ``| command``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.text import read_text, write_text

__all__ = ["Scores", "Trials", "read_scores", "read_trials", "trial_lines", "write_scores", "write_trials"]

_LABELS = {"target": True, "nontarget": False, "1": True, "0": False}


@dataclasses.dataclass(frozen=True)
class Trials:
    """N trials: keys of both sides, and labels (N,) bool (True = target), or None when unlabelled."""

    enroll: list[str]
    test: list[str]
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.enroll)


@dataclasses.dataclass(frozen=True)
class Scores:
    """N scored trials: keys of both sides and float64 scores (N,)."""

    enroll: list[str]
    test: list[str]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.enroll)


def _rows(path: str) -> list[list[str]]:
    return [line.split() for line in read_text(path)]


def trial_lines(path: str | os.PathLike) -> Iterator[tuple[str, str, bool | None] | DataError]:
    """Yield, for each line of a trial list, its enrol and test side and label, or the error that it is malformed.

    The first line tells the layout of all.

    Raises:
        DataError: the list is empty or cannot be read.
    """
    path = os.fspath(path)
    rows = _rows(path)
    if not rows:
        raise DataError("the trial list is empty", path=path)
    width = len(rows[0])
    voxceleb = width == 3 and rows[0][0] in ("0", "1") and rows[0][2] not in _LABELS
    expected = "'1|0 ENROLL TEST'" if voxceleb else "'ENROLL TEST'" if width == 2 else "'ENROLL TEST target|nontarget'"
    for number, row in enumerate(rows, 1):
        label = None
        if len(row) == width == 3:
            label = _LABELS.get(row[0] if voxceleb else row[2])
        if len(row) != width or width not in (2, 3) or (width == 3 and label is None):
            yield DataError("malformed trial", path=path, line=number, found=repr(" ".join(row)), expected=expected)
        else:
            yield (row[1], row[2], label) if voxceleb else (row[0], row[1], label)


def read_trials(path: str | os.PathLike) -> Trials:
    """Read a trial list of either layout, labelled or not.

    Raises:
        DataError: empty list, or a line that does not fit the layout of the first (file:line named).
    """
    enroll, test, labels = [], [], []
    for line in trial_lines(path):
        if isinstance(line, DataError):
            raise line
        enroll.append(line[0])
        test.append(line[1])
        labels.append(line[2])
    return Trials(enroll, test, None if labels[0] is None else np.array(labels, dtype=bool))


def write_trials(path: str | os.PathLike, trials: Trials) -> None:
    """Write trials in Kaldi's layout."""
    if trials.labels is None:
        write_text(path, (f"{e} {t}" for e, t in zip(trials.enroll, trials.test, strict=True)))
    else:
        words = ("nontarget", "target")
        rows = zip(trials.enroll, trials.test, trials.labels.tolist(), strict=True)
        write_text(path, (f"{enroll} {test} {words[label]}" for enroll, test, label in rows))


def read_scores(path: str | os.PathLike) -> Scores:
    """Read ``enroll test score`` lines.

    Raises:
        DataError: empty file, wrong number of fields, or a score that is not a number.
    """
    path = os.fspath(path)
    rows = _rows(path)
    if not rows:
        raise DataError("the score file is empty", path=path)
    values = np.empty(len(rows))
    for number, row in enumerate(rows, 1):
        try:
            if len(row) != 3:
                raise ValueError
            values[number - 1] = float(row[2])
        except ValueError:
            raise DataError(
                "malformed score", path=path, line=number, found=repr(" ".join(row)), expected="'ENROLL TEST SCORE'"
            ) from None
    return Scores([row[0] for row in rows], [row[1] for row in rows], values)


def write_scores(path: str | os.PathLike, scores: Scores) -> None:
    """Write ``enroll test score`` lines."""
    rows = zip(scores.enroll, scores.test, scores.scores.tolist(), strict=True)
    write_text(path, (f"{enroll} {test} {score:.6f}" for enroll, test, score in rows))
