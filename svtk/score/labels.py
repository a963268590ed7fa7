"""Which scores are of target trials: labels from a score file itself, or from a trial list in any order."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.labelled_lines import Columns, KeyCodes, column_blocks, parse_columns
from svtk.kaldi.text import only_one
from svtk.kaldi.trials import Scores, Trials
from svtk.score.blocks import in_order, with_progress
from svtk.score.operating_points import require_both

__all__ = ["LabelledScores", "join_labels", "read_labelled"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LabelledScores:
    """N scored trials: ``scores`` float64 (N,), ``labels`` bool (N,), True = target, and, if they were asked for,
    ``enroll`` and ``test``, int32 (N,) each: where in ``keys`` the sides' keys stand.

    ``num_unlisted`` scores had no trial and ``num_unscored`` trials no score, which were left out.
    """

    scores: np.ndarray
    labels: np.ndarray
    enroll: np.ndarray | None = None
    test: np.ndarray | None = None
    keys: list[str] = dataclasses.field(default_factory=list)
    num_unlisted: int = 0
    num_unscored: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    def pairs(self) -> np.ndarray:
        """What tells pairs of keys apart, int64 (N,)."""
        return _pairs(self.enroll, self.test, len(self.keys))


def read_labelled(
    scores: str | os.PathLike,
    trials: str | os.PathLike | None = None,
    *,
    with_keys: bool = False,
    missing: str = "error",
) -> LabelledScores:
    """Read scores with their labels.

    Two files with the same keys in the same order are read side by side, in memory of 9 bytes a trial; otherwise keys
    are matched.

    Args:
        scores: ``ENROLL TEST SCORE`` lines, or, without *trials*, ``ENROLL TEST SCORE LABEL`` or ``SCORE LABEL``.
        trials: a labelled trial list of either layout.
        with_keys: keep the keys, too.
        missing: what becomes of scores without a trial and trials without a score: ``error``, or ``skip`` them.

    Raises:
        DataError: a file that cannot be read, no labels or labels in both files, a score that is no number, one of
            the classes missing, scores without a trial or the reverse, or contradicting labels.
    """
    only_one("stdin", {"SCORES": scores, "TRIALS": trials})
    result = None
    if not with_keys and trials is not None and os.path.isfile(scores) and os.path.isfile(trials):
        result = _side_by_side(scores, trials)
    if trials is None:
        result = _with_own_labels(scores, with_keys)
    elif result is None:
        result = _matched(scores, trials, missing)
    num_targets = int(np.count_nonzero(result.labels))
    require_both(num_targets, len(result) - num_targets, os.fspath(scores if trials is None else trials))
    return result


def _read(path: str | os.PathLike, what: str, encode: bool = False) -> Iterator[Columns]:
    parse = partial(parse_columns, path, encode=encode)
    return with_progress(in_order(parse, column_blocks(path, what)), what)


def _labelled(block: Columns, path: str | os.PathLike) -> tuple[np.ndarray, ...]:
    """Scores and labels of a labelled score file's block."""
    if block.labels is None:
        expected = "'ENROLL TEST SCORE target|nontarget' lines"
        raise DataError("the scores have no labels", path=path, expected=expected, mend="name a trial list, too")
    return block.scores, block.labels


def _scores(block: Columns, path: str | os.PathLike) -> tuple[np.ndarray, ...]:
    if block.labels is not None:
        what = "the scores have labels of their own"
        raise DataError(what, path=path, expected="'ENROLL TEST SCORE' lines", mend="leave the trial list out")
    return (block.scores,)


def _labels(block: Columns, path: str | os.PathLike) -> tuple[np.ndarray, ...]:
    if block.labels is None:
        raise DataError("the trial list has no labels", path=path, expected="'ENROLL TEST target|nontarget'")
    return (block.labels,)


def _concatenated(pieces: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Each column of the pieces as one array; the pieces are freed as they are copied."""
    columns = [list(column) for column in zip(*pieces, strict=True)]
    pieces.clear()
    result = []
    for column in columns:
        whole = np.empty(sum(map(len, column)), column[0].dtype)
        start = len(whole)
        while column:
            piece = column.pop()
            start -= len(piece)
            whole[start : start + len(piece)] = piece
        result.append(whole)
    return result


def _with_own_labels(scores: str | os.PathLike, with_keys: bool) -> LabelledScores:
    if not with_keys:
        return LabelledScores(*_concatenated([_labelled(block, scores) for block in _read(scores, "score file")]))
    codes = KeyCodes()
    columns = _keyed(scores, "score file", _labelled, codes)
    return LabelledScores(*columns, codes.keys)


def _side_by_side(scores: str | os.PathLike, trials: str | os.PathLike) -> LabelledScores | None:
    """Scores and labels of two files with the same keys in the same order; None when they are in another."""
    pieces: list[tuple[np.ndarray, ...]] = []
    listed, rest = _read(trials, "trial list"), Columns(0)
    for block in _read(scores, "score file"):
        _scores(block, scores)
        done = 0
        while done < len(block):
            if not len(rest) and (rest := next(listed, None)) is None:
                return None
            size = min(len(rest), len(block) - done)
            part, (labels,) = block.part(done, done + size), _labels(rest.part(0, size), trials)
            if not rest.part(0, size).same_keys(part):
                return None
            pieces.append((part.scores, labels))
            done, rest = done + size, rest.part(size, len(rest))
    if len(rest) or next(listed, None) is not None:
        return None
    return LabelledScores(*_concatenated(pieces))


_Take = Callable[[Columns, "str | os.PathLike"], tuple[np.ndarray, ...]]


def _keyed(path: str | os.PathLike, what: str, take: _Take, codes: KeyCodes) -> list[np.ndarray]:
    """What *take* takes of a file, and numbers of its keys, int32 (N,) and (N,)."""
    pieces = []
    for block in _read(path, what, True):
        pieces.append(take(block, path))
        if block.enroll is None:
            raise DataError("the scores have no keys", path=path, expected="'ENROLL TEST SCORE' lines")
        codes.add(block.enroll)
        codes.add(block.test)
    found = codes.take()
    return _concatenated(pieces) + _concatenated(list(zip(found[0::2], found[1::2], strict=True)))


def _matched(scores: str | os.PathLike, trials: str | os.PathLike, missing: str) -> LabelledScores:
    """Scores, labels and keys of two files, matched by keys."""
    codes = KeyCodes()
    values, enroll, test = _keyed(scores, "score file", _scores, codes)
    labels, *sides = _keyed(trials, "trial list", _labels, codes)
    keys = codes.keys
    if np.array_equal(enroll, sides[0]) and np.array_equal(test, sides[1]):
        return LabelledScores(values, labels, enroll, test, keys)
    match = _Match.of(_pairs(enroll, test, len(keys)), _pairs(*sides, len(keys)))
    del sides

    def name(pair: int) -> str:
        return f"{keys[pair // len(keys)]} {keys[pair % len(keys)]}"

    if missing == "error":
        match.refuse(name, scores, trials)
    for number, what, path in (
        (match.num_unlisted, f"scores have no trial in {trials}: left out", scores),
        (match.num_unscored, f"trials have no score in {scores}: left out", trials),
    ):
        if number:
            log.warning("%s: %d %s", path, number, what)
    labels = match.labels(labels, name, trials)
    if match.num_unlisted:
        there = match.there
        values, labels, enroll, test = values[there], labels[there], enroll[there], test[there]
    return LabelledScores(values, labels, enroll, test, keys, match.num_unlisted, match.num_unscored)


def _pairs(enroll: np.ndarray, test: np.ndarray, num_keys: int) -> np.ndarray:
    return enroll.astype(np.int64) * num_keys + test


@dataclasses.dataclass(frozen=True)
class _Match:
    """Pairs (N,) of a score file, and those (M,) of a list, of which ``order`` (M,) makes ``rising`` (M,) ones; at
    ``places`` (N,) of these the scores' pairs stand, or would."""

    scored: np.ndarray
    listed: np.ndarray
    order: np.ndarray
    rising: np.ndarray
    places: np.ndarray

    @classmethod
    def of(cls, scored: np.ndarray, listed: np.ndarray) -> _Match:
        """Sort and search."""
        order = np.argsort(listed, kind="stable")
        rising = listed[order]
        return cls(scored, listed, order, rising, np.minimum(np.searchsorted(rising, scored), len(rising) - 1))

    @cached_property
    def there(self) -> np.ndarray:
        """Which scores have a trial, bool (N,)."""
        return self.rising[self.places] == self.scored

    @cached_property
    def num_unlisted(self) -> int:
        """How many scores have no trial."""
        return len(self.scored) - int(np.count_nonzero(self.there))

    @cached_property
    def num_unscored(self) -> int:
        """How many trials have no score."""
        return len(self.listed) - int(np.count_nonzero(np.isin(self.listed, self.scored)))

    def refuse(
        self,
        name: Callable[[int], str],
        scores: Any,
        trials: Any,
        *,
        lines: Sequence[int] | None = None,
        skip_unscored: bool = False,
    ) -> None:
        """Raise DataError where a pair stands more often in one of the files than in the other."""
        _refuse_surplus(self.scored, self.listed, name, "score(s) without a trial", scores, trials, lines)
        if not skip_unscored:
            _refuse_surplus(self.listed, self.scored, name, "trial(s) without a score", trials, scores)

    def labels(self, listed: np.ndarray, name: Callable[[int], str], trials: Any) -> np.ndarray:
        """Labels (N,) by those of the list (M,); for scores without a trial they say nothing.

        Raises:
            DataError: a pair is target in one line of the list and nontarget in another.
        """
        rising = listed[self.order]
        again = np.flatnonzero((self.rising[1:] == self.rising[:-1]) & (rising[1:] != rising[:-1])) + 1
        if again.size:
            line = int(self.order[again].min())
            what, found = "a pair is both target and nontarget", repr(name(int(self.listed[line])))
            raise DataError(what, path=trials, line=line + 1, found=found, mend="remove one of the lines")
        return rising[self.places]


def _refuse_surplus(
    left: np.ndarray,
    right: np.ndarray,
    name: Callable[[int], str],
    what: str,
    left_path: Any,
    right_path: Any,
    lines: Sequence[int] | None = None,
) -> None:
    """Raise DataError where a pair of *left* (N,), which stand in *lines* of their file, is not as often in *right*."""
    pairs, first, counts = np.unique(left, return_index=True, return_counts=True)
    others, other_counts = np.unique(right, return_counts=True)
    places = np.minimum(np.searchsorted(others, pairs), len(others) - 1)
    surplus = np.maximum(counts - np.where(others[places] == pairs, other_counts[places], 0), 0)
    if surplus.any():
        number = int(surplus.sum())
        first = np.sort(first[surplus > 0])
        examples = ", ".join(repr(name(int(left[place]))) for place in first[:3]) + (" ..." if len(first) > 3 else "")
        raise DataError(
            f"{number} {what} in {right_path}",
            path=left_path,
            line=int(first[0]) + 1 if lines is None else lines[first[0]],
            found=examples,
            mend="score exactly the trials of this list",
        )


def join_labels(
    scores: Scores,
    trials: Trials,
    scores_path: str | os.PathLike = "scores",
    trials_path: str | os.PathLike = "trials",
    *,
    lines: Sequence[int] | None = None,
    skip_unscored: bool = False,
) -> np.ndarray:
    """Labels (N,) bool of the scores: by order when both lists hold the same keys in the same order, else by key.

    *lines* (N) say where in their file the scores stand, some of which may be left out. With *skip_unscored*,
    trials without a score (see ``svtk score --missing skip``) are no error.

    Raises:
        DataError: the trials have no labels, a score has no trial or a trial no score (how many, the first
            few, and the line of the first), or a pair is target in one line and nontarget in another.
    """
    if trials.labels is None:
        raise DataError("the trial list has no labels", path=trials_path, expected="'ENROLL TEST target|nontarget'")
    if scores.enroll == trials.enroll and scores.test == trials.test:
        return trials.labels
    numbers: dict[tuple[str, str], int] = {}

    def pairs(enroll: list[str], test: list[str]) -> np.ndarray:
        return np.array([numbers.setdefault(pair, len(numbers)) for pair in zip(enroll, test, strict=True)])

    match = _Match.of(pairs(scores.enroll, scores.test), pairs(trials.enroll, trials.test))
    names = list(numbers)

    def name(pair: int) -> str:
        return " ".join(names[pair])

    match.refuse(name, scores_path, trials_path, lines=lines, skip_unscored=skip_unscored)
    return match.labels(trials.labels, name, trials_path)
