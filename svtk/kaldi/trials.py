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

__all__ = [
    "LABELS",
    "Scores",
    "TrialLayout",
    "Trials",
    "malformed_trial",
    "read_scores",
    "read_trials",
    "trial_lines",
    "write_scores",
    "write_trials",
]

#: The words that label a trial, and what they say.
LABELS = {"target": True, "nontarget": False, "1": True, "0": False}


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


@dataclasses.dataclass(frozen=True)
class TrialLayout:
    """How the lines of a trial list are laid out: ``width`` words, and with ``label_first`` VoxCeleb's order."""

    width: int
    label_first: bool

    @classmethod
    def of(cls, row: list[str]) -> TrialLayout:
        """The layout that a list's first line tells."""
        return cls(len(row), len(row) == 3 and row[0] in ("0", "1") and row[2] not in LABELS)

    @property
    def expected(self) -> str:
        """What a line looks like, for messages."""
        if self.label_first:
            return "'1|0 ENROLL TEST'"
        return "'ENROLL TEST'" if self.width == 2 else "'ENROLL TEST target|nontarget'"

    def parse(self, row: list[str]) -> tuple[str, str, bool | None] | None:
        """Enrol and test side and label (None: the list has none) of one line; None when it is malformed."""
        label = None
        if len(row) == self.width == 3:
            label = LABELS.get(row[0] if self.label_first else row[2])
        if len(row) != self.width or self.width not in (2, 3) or (self.width == 3 and label is None):
            return None
        return (row[1], row[2], label) if self.label_first else (row[0], row[1], label)


def malformed_trial(row: list[str], layout: TrialLayout, path: str | os.PathLike, line: int) -> DataError:
    """The error for a line that does not fit its list's layout."""
    return DataError("malformed trial", path=path, line=line, found=repr(" ".join(row)), expected=layout.expected)


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
    layout = TrialLayout.of(rows[0])
    for number, row in enumerate(rows, 1):
        yield layout.parse(row) or malformed_trial(row, layout, path, number)


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
