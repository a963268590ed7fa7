"""From embeddings to a function that scores pairs of them: cosine, inner product or PLDA, of utterances or models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.plda import Plda, read_matrix, read_plda
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import read_numbers
from svtk.score.cosine import cosine
from svtk.score.lda import Preparation, product_in_order, read_mean
from svtk.score.plda import PldaScorer, project_scaled
from svtk.score.sides import Groups, Side

__all__ = ["METHODS", "MODES", "Method", "Unsound", "build_scorer"]

METHODS = ("cosine", "inner-product", "plda")
MODES = ("mean", "score-mean", "max")

_PAIRS = 1 << 14  # pairs of a model's rows that are scored at a time

#: Rows of both sides, integers (K,) each → scores (K,).
PairScorer = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Method:
    """How embeddings are scored.

    ``name``: one of :data:`METHODS`. ``mode``: one of :data:`MODES`: models are scored by the mean of their
    embeddings, or by the mean or the highest of all pairs' scores. ``mean`` (a vector file or an rspecifier) is
    subtracted and ``transform`` (a matrix file) applied first. PLDA only: ``plda`` file; ``length_norm`` before it;
    ``plda_length_norm`` in its space (covariance, simple or none); ``num_utts`` rspecifier of integers, how many
    utterances each enrolment embedding is the mean of.
    """

    name: str = "cosine"
    mode: str = "mean"
    mean: str | None = None
    transform: str | None = None
    plda: str | None = None
    length_norm: bool = True
    plda_length_norm: str = "covariance"
    num_utts: str | None = None


@dataclasses.dataclass
class Unsound:
    """Rows of a side that cannot be scored: ``marked`` bool (N,), and what is wrong with each of them."""

    marked: np.ndarray
    reasons: dict[int, str]

    def check(self, rows: np.ndarray, path: str) -> None:
        """Raise DataError, naming the table *path*, when one of *rows* is marked."""
        if self.reasons and (hit := np.flatnonzero(self.marked[rows])).size:
            raise DataError(self.reasons[int(rows[hit[0]])], path=path, mend="extract it again")


def build_scorer(method: Method, enroll: Side, test: Side) -> tuple[PairScorer, Unsound, Unsound]:
    """Prepare both sides' embeddings; what a trial then costs is one inner product.

    Returns:
        the function that scores pairs, which several threads may call and whose scores do not depend on what else
        it is called with; and the rows of either side that it may not be called with.

    Raises:
        DataError: a mean, transform or PLDA file that cannot be read or does not fit, or a number of utterances
            below 1.
    """
    mean = None if method.mean is None else _read_mean(method.mean, enroll, test)
    if mean is not None and len(mean) != enroll.rows.shape[1]:
        expected = f"{enroll.rows.shape[1]}, as in {enroll.table}"
        mend = "use one model for all"
        raise DataError(
            "embeddings of different dimension", path=method.mean, found=str(len(mean)), expected=expected, mend=mend
        )
    if mean is not None and not np.isfinite(mean).all():
        raise DataError("the mean holds NaN or infinity", path=method.mean, mend="extract these embeddings again")
    transform = None if method.transform is None else read_matrix(method.transform)
    scaled = method.name == "cosine" or (method.name == "plda" and method.length_norm)
    preparation = Preparation(mean, transform, scaled)
    plda = read_plda(method.plda) if method.name == "plda" else None
    num_utts, uncounted = _num_utts(method, enroll)
    enroll_rows, enroll_unsound = _prepared(method, preparation, plda, enroll, num_utts)
    for row in uncounted:
        enroll_unsound.marked[row] = True
        enroll_unsound.reasons[row] = f"{enroll.index.keys[row]!r} has no number of utterances in {method.num_utts}"
    alike = enroll.table == test.table and enroll.groups is test.groups is None and isinstance(num_utts, int)
    test_rows, test_unsound = (enroll_rows, enroll_unsound) if alike else _prepared(method, preparation, plda, test, 1)
    groups = (enroll.groups, test.groups) if method.mode != "mean" else (None, None)
    if plda is not None:
        scorer = PldaScorer(plda, enroll_rows, test_rows, num_utts)
        if method.mode == "score-mean":
            scorer = scorer.averaged(*(None if found is None else found.means for found in groups))
        pairs: PairScorer = scorer.pairs
    else:
        if method.mode == "score-mean":  # the mean of all pairs' inner products is the inner product of the means
            enroll_rows, test_rows = (
                rows if found is None else found.means(rows)
                for rows, found in zip((enroll_rows, test_rows), groups, strict=True)
            )
        pairs = partial(cosine, enroll_rows, test_rows)
    if method.mode == "max" and groups != (None, None):
        pairs = partial(_highest, pairs, *groups)
    return pairs, enroll_unsound, test_unsound


def _read_mean(source: str, enroll: Side, test: Side) -> np.ndarray:
    """As :func:`svtk.score.lda.read_mean`, of a table that may have been read already."""
    for side in (enroll, test):
        if is_rspecifier(source) and side.table == source:
            return side.rows.mean(axis=0, dtype=np.float64)
    return read_mean(source)


def _num_utts(method: Method, enroll: Side) -> tuple[np.ndarray | int, list[int]]:
    """Numbers of utterances behind the enrolment's rows, (N,) or one for all, and the rows that have none."""
    if enroll.groups is not None and method.mode == "mean":
        return enroll.groups.sizes, []
    if method.num_utts is None:
        return 1, []
    counts = dict(read_numbers(method.num_utts, int))
    found = np.array([counts.get(key, 0) for key in enroll.index.keys])
    absent = [row for row, key in enumerate(enroll.index.keys) if key not in counts]
    found[absent] = 1
    if (found < 1).any():
        key = enroll.index.keys[int(np.argmax(found < 1))]
        raise DataError(f"{key!r} has a number of utterances below 1", path=method.num_utts, found=str(counts[key]))
    return found, absent


def _prepared(
    method: Method, preparation: Preparation, plda: Plda | None, side: Side, num_utts: np.ndarray | int
) -> tuple[np.ndarray, Unsound]:
    """A side's rows as they are multiplied, and which of those that trials name are unsound."""
    averaged = side.groups is not None and method.mode == "mean"
    rows = side.groups.means(side.rows) if averaged else side.rows
    rows, norms = preparation.scaled(rows, product_in_order, 1.0 if plda is None else None)
    found = _faults(
        norms, preparation.length_norm, "" if preparation.mean is None else " after the mean was subtracted"
    )
    if plda is not None:
        rows[~np.isfinite(norms)] = 0
        scaling = None if method.plda_length_norm == "none" else method.plda_length_norm
        rows, norms = project_scaled(plda, rows, num_utts, scaling)
        found = _faults(norms, scaling is not None, " in the PLDA's space") | found
    whose = "mean embedding" if averaged else "embedding"
    keys = side.index.keys if averaged else side.keys
    reasons = {row: f"{whose} {keys[row]!r} {fault}" for row, fault in found.items()}
    marked = np.zeros(len(rows), dtype=bool)
    marked[list(reasons)] = True
    if side.groups is not None and not averaged:
        faulty = side.groups.any(marked)
        marked = faulty >= 0
        reasons = {int(row): f"{reasons[faulty[row]]}, of {side.index.keys[row]!r}" for row in np.flatnonzero(marked)}
    return rows, Unsound(marked, reasons)


def _faults(norms: np.ndarray, scaled: bool, when: str) -> dict[int, str]:
    faults = dict.fromkeys(np.flatnonzero(~np.isfinite(norms)).tolist(), f"holds NaN or infinity{when}")
    if scaled:
        faults |= dict.fromkeys(np.flatnonzero(norms == 0).tolist(), f"is zero and has no direction{when}")
    return faults


def _highest(
    pairs: PairScorer, enroll: Groups | None, test: Groups | None, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """The highest score of all pairs of rows of two models; either side may be single rows."""
    num_left, num_right = (
        np.ones(len(chosen), dtype=np.int64) if groups is None else groups.sizes[chosen]
        for groups, chosen in ((enroll, left), (test, right))
    )
    counts = num_left * num_right  # pairs of each trial
    before = np.concatenate([[0], np.cumsum(counts)])
    result = np.empty(len(left))
    first = 0
    while first < len(left):
        last = max(first + 1, int(np.searchsorted(before, before[first] + _PAIRS, "right")) - 1)
        trials = slice(first, last)
        starts = before[trials] - before[first]
        trial = np.repeat(np.arange(first, last), counts[trials])  # of each pair
        number = np.arange(len(trial)) - starts[trial - first]  # of the pair within it
        rows = [
            chosen[trial] if groups is None else groups.members[groups.starts[chosen[trial]] + place]
            for groups, chosen, place in (
                (enroll, left, number // num_right[trial]),
                (test, right, number % num_right[trial]),
            )
        ]
        result[trials] = np.maximum.reduceat(pairs(*rows), starts)
        first = last
    return result
