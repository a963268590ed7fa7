"""Cosine scores of trials: key look-up in bulk, then blocked gathers; no loop over pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.plda import read_vector
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import read_vectors
from svtk.kaldi.text import only_one
from svtk.kaldi.trials import Scores, read_trials

__all__ = ["cosine", "look_up", "score_trials"]

_BLOCK_VALUES = 1 << 20  # float32 values gathered per side and block: 4 MiB


def cosine(enroll: np.ndarray, test: np.ndarray, enroll_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Inner products of chosen rows; cosines when the rows have unit length.

    Args:
        enroll, test: float32 (N, D) and (M, D).
        enroll_index, test_index: rows of the K trials, integers (K,).

    Returns:
        float32 (K,).

    >>> import numpy as np
    >>> rows = np.eye(2, dtype=np.float32)
    >>> cosine(rows, rows, np.array([0, 0]), np.array([0, 1])).tolist()
    [1.0, 0.0]
    """
    scores = np.empty(len(enroll_index), dtype=np.float32)
    step = max(1, _BLOCK_VALUES // max(1, enroll.shape[1]))
    for start in range(0, len(scores), step):
        block = slice(start, start + step)
        np.einsum("kd,kd->k", enroll[enroll_index[block]], test[test_index[block]], out=scores[block])  # (K', D) each
    return scores


def look_up(
    keys: Sequence[str], table: Sequence[str], side: str, trials: str | os.PathLike, table_name: str
) -> np.ndarray:
    """Rows at which the *keys* of one side of a trial list stand in a table.

    Args:
        keys: K keys, one per line of the trial list.
        table: the table's keys in order, each once.
        side: ``enrolment`` or ``test``, for the message.
        trials, table_name: names for the message.

    Returns:
        int64 (K,).

    Raises:
        DataError: keys that are not in the table: how many, the first few, and the line of the first.
    """
    row_of = dict(zip(table, range(len(table)), strict=True))
    rows = np.fromiter(map(row_of.get, keys, repeat(-1)), dtype=np.int64, count=len(keys))
    if (absent := np.flatnonzero(rows < 0)).size:
        names = list(dict.fromkeys(keys[i] for i in absent))
        examples = ", ".join(map(repr, names[:3])) + (" ..." if len(names) > 3 else "")
        raise DataError(
            f"{len(names)} {side} key(s) are not in {table_name}",
            path=trials,
            line=int(absent[0]) + 1,
            found=examples,
            mend="extract their embeddings or take their trials out",
        )
    return rows


def _unit_length(
    rows: np.ndarray, mean: np.ndarray | None, used: np.ndarray, keys: Sequence[str], name: str
) -> np.ndarray:
    """Rows (N, D) less *mean* (D,), each scaled to length 1; only rows marked in *used* (N,) have to be sound."""
    rows = rows.astype(np.float64)
    if mean is not None:
        rows -= mean
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))  # (N,); not finite when any value is not
    for bad, what in ((~np.isfinite(norms), "holds NaN or infinity"), (norms == 0, "is zero and has no direction")):
        if (hit := np.flatnonzero(bad & used)).size:
            more = "" if hit.size == 1 else f" (and {hit.size - 1} more)"
            after = "" if mean is None else " after the mean was subtracted"
            raise DataError(f"embedding {keys[hit[0]]!r}{more} {what}{after}", path=name, mend="extract it again")
    norms[~(np.isfinite(norms) & (norms > 0))] = 1.0  # not used by any trial
    rows /= norms[:, None]
    return rows.astype(np.float32)


def _read_center(mean: str, tables: dict[str, tuple[list[str], np.ndarray]]) -> np.ndarray:
    """The mean (D,) of a table, which may have been read already, or a vector file such as Kaldi's mean.vec."""
    if not is_rspecifier(mean):
        return read_vector(mean)
    _, rows = tables[mean] if mean in tables else read_vectors(mean)
    return rows.mean(axis=0, dtype=np.float64)


def score_trials(trials: str | os.PathLike, enroll: str, test: str, mean: str | None = None) -> Scores:
    """Cosine of length-normalised embeddings for every trial, in the list's order.

    Args:
        trials: trial list, labelled or not; an rxfilename.
        enroll, test: rspecifiers of embeddings (D,).
        mean: what is subtracted from both sides before length normalisation: the mean of the vectors (D,) of an
            rspecifier, or the vector of a file such as Kaldi's ``mean.vec``.

    An rspecifier given twice is read once, so that stdin can be both sides.

    Raises:
        DataError: a key without embedding, embeddings of different dimension, or one used by a trial that
            is zero, NaN or infinite; stdin named for two inputs; and what :func:`read_trials` and
            :func:`read_vectors` raise.
    """
    inputs = {"TRIALS": trials, "ENROLL_RSPECIFIER": enroll}
    inputs["TEST_RSPECIFIER"] = None if test == enroll else test
    inputs["--mean"] = None if mean in (enroll, test) else mean
    only_one("stdin", inputs)
    listed = read_trials(trials)
    tables = {name: read_vectors(name) for name in dict.fromkeys((enroll, test))}
    (enroll_keys, enroll_rows), (test_keys, test_rows) = tables[enroll], tables[test]
    center = None if mean is None else _read_center(mean, tables)  # (D,)
    dim = enroll_rows.shape[1]
    for name, found in ((test, test_rows.shape[1]), (mean, dim if center is None else len(center))):
        if found != dim:
            raise DataError(
                "embeddings of different dimension",
                path=name,
                found=str(found),
                expected=f"{dim}, as in {enroll}",
                mend="use one model for all",
            )
    if center is not None and not np.isfinite(center).all():
        raise DataError("the mean holds NaN or infinity", path=mean, mend="extract these embeddings again")
    enroll_index = look_up(listed.enroll, enroll_keys, "enrolment", trials, enroll)
    test_index = look_up(listed.test, test_keys, "test", trials, test)
    enroll_used, test_used = np.zeros(len(enroll_keys), dtype=bool), np.zeros(len(test_keys), dtype=bool)
    enroll_used[enroll_index] = True
    test_used[test_index] = True
    if test == enroll:
        enroll_rows = test_rows = _unit_length(enroll_rows, center, enroll_used | test_used, enroll_keys, enroll)
    else:
        enroll_rows = _unit_length(enroll_rows, center, enroll_used, enroll_keys, enroll)
        test_rows = _unit_length(test_rows, center, test_used, test_keys, test)
    return Scores(listed.enroll, listed.test, cosine(enroll_rows, test_rows, enroll_index, test_index))
