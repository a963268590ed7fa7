"""Score normalisation by a cohort: as-norm, s-norm, z-norm and t-norm, over score files of any length.

With mean and standard deviation (m, d) of the cosine scores of the enrolment (e) or test (t) side against the
cohort, a score s becomes

==========  ====================================================================
``as-norm``  ((s - m_e) / d_e + (s - m_t) / d_t) / 2, of each side's n highest cohort scores
``s-norm``   the same, of all cohort scores
``z-norm``   (s - m_e) / d_e, of all
``t-norm``   (s - m_t) / d_t, of all
==========  ====================================================================
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.fingerprint import sha256_of_json, sha256_of_named
from svtk.kaldi.columns import KeyIndex, Pairs, parse_scores, score_blocks
from svtk.kaldi.streams import open_wxfilename
from svtk.kaldi.tables import TableWriter, read_vectors
from svtk.kaldi.text import only_one, read_spk2utt, read_text, write_text
from svtk.score.average import speaker_means
from svtk.score.blocks import in_order, with_progress
from svtk.score.cohort import Cohort
from svtk.score.lda import read_mean
from svtk.score.missing import MissingKeys

__all__ = ["METHODS", "normalize_scores"]

log = logging.getLogger(__name__)

METHODS = ("as-norm", "s-norm", "z-norm", "t-norm")


class _Table:
    """A table of embeddings with the cohort statistics of those asked for so far.

    ``statistics`` float64 (N, 2), NaN where not computed yet.
    """

    def __init__(self, name: str, keys: list[str], rows: np.ndarray):
        self.name, self.keys, self.rows = name, keys, rows
        self.index = KeyIndex(keys)
        self.row_of = {key: row for row, key in enumerate(keys)}
        self.statistics = np.full((len(keys), 2), np.nan)

    def complete(self, rows: np.ndarray, cohort: Cohort) -> None:
        """Compute what is not there yet of the statistics of *rows*, integers (K,)."""
        wanted = np.zeros(len(self.keys), dtype=bool)
        wanted[rows] = True
        if (new := np.flatnonzero(wanted & np.isnan(self.statistics[:, 0]))).size:
            keys = [self.keys[row] for row in new]
            self.statistics[new] = cohort.statistics(self.rows[new], keys, self.name, new)


class _StatisticsFile:
    """Saved statistics: ``utt  [ mean std ]`` lines, as a Kaldi text archive, and what they are of in FILE.json."""

    def __init__(self, path: str, made_of: dict[str, Any]):
        self._path, self._note, self._made_of = Path(path), Path(f"{path}.json"), made_of

    def read(self) -> dict[str, tuple[float, float]]:
        """The statistics by key; none when there is no file.

        Raises:
            DataError: the file is of another cohort, other embeddings or options, or is damaged.
        """
        if not self._path.exists():
            return {}
        mend = "remove it, or name another file"
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            what = "cannot tell what these statistics are of"
            raise DataError(what, path=self._path, expected=f"{self._note.name} beside it", mend=mend) from None
        changed = [name for name, value in self._made_of.items() if note.get(name) != value]
        if changed:
            found = " and ".join(name.replace("_", " ") for name in changed)
            raise DataError("saved statistics of another run", path=self._path, found=f"other {found}", mend=mend)
        statistics = {}
        for number, line in enumerate(read_text(self._path), 1):
            try:
                key, left, mean, std, right = line.split()
                if (left, right) != ("[", "]"):
                    raise ValueError
                statistics[key] = (float(mean), float(std))
            except ValueError:
                expected = "'KEY [ MEAN STD ]'"
                raise DataError(
                    "malformed statistics", path=self._path, line=number, found=repr(line[:60]), expected=expected
                ) from None
        return statistics

    def write(self, statistics: dict[str, tuple[float, float]]) -> None:
        """Replace the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._note.unlink(missing_ok=True)  # it never stands beside statistics of another run
        with TableWriter(f"ark,t:{self._path}") as writer:
            for key, pair in statistics.items():
                writer.write(key, np.array(pair, dtype=np.float64))
        write_text(self._note, [json.dumps(self._made_of, indent=2)])


def _read_cohort(rspecifier: str, spk2utt: str | None) -> tuple[list[str], np.ndarray]:
    keys, rows = read_vectors(rspecifier)
    if spk2utt is None:
        return keys, rows
    vectors = zip(keys, rows.astype(np.float64), strict=True)
    means = list(speaker_means(read_spk2utt(spk2utt), vectors))
    if not means:
        expected = f"keys as {keys[0]!r}"
        raise DataError("no speaker of the cohort has an embedding", path=spk2utt, expected=expected)
    return [spk for spk, _, _ in means], np.stack([mean for _, mean, _ in means])


def _digest(keys: list[str], rows: np.ndarray) -> str:
    return sha256_of_named(zip(keys, (row.tobytes() for row in rows), strict=True))


def normalize_scores(
    cohort: str,
    scores: str,
    enroll: str,
    test: str,
    normalized: str,
    *,
    method: str = "as-norm",
    top_n: int = 300,
    cohort_spk2utt: str | None = None,
    mean: str | None = None,
    statistics: str | None = None,
    missing: str = "error",
    missing_list: str | None = None,
) -> None:
    """Normalise a file of cosine scores, in the order of its lines and in constant memory.

    Statistics are computed once per utterance that a score names, when the first block that names it is read.

    Args:
        cohort: rspecifier of embeddings (D,).
        scores: ``enroll test score`` lines; an rxfilename.
        enroll, test: rspecifiers of the embeddings of both sides; the same one is read once.
        normalized: the score file to write; a wxfilename.
        method: one of :data:`METHODS`.
        top_n: of how many highest cohort scores statistics are taken; as-norm only.
        cohort_spk2utt: use the means of these speakers' embeddings as the cohort.
        mean: subtracted from all embeddings, as :func:`svtk.score.lda.read_mean`; what the scores were made with.
        statistics: file that statistics are taken from, where it exists, and saved in.
        missing: what becomes of scores of keys without embedding: ``error``, or ``skip`` them.
        missing_list: file of these keys, ``KEY enroll|test`` lines; a wxfilename.

    Raises:
        DataError: an input that cannot be read or does not fit the others; a key without embedding; an embedding
            that is zero, NaN or infinite; a cohort that is too small or without spread; saved statistics of
            another cohort, other embeddings or options.
    """
    if method not in METHODS:
        raise ValueError(f"{method!r} is none of {METHODS}")
    inputs = {"--cohort": cohort, "SCORES": scores, "ENROLL_RSPECIFIER": enroll, "TEST_RSPECIFIER": test}
    if enroll == test:
        del inputs["TEST_RSPECIFIER"]
    only_one("stdin", inputs | {"--cohort-spk2utt": cohort_spk2utt, "--mean": mean})
    only_one("stdout", {"NORMALIZED": normalized, "--missing-list": missing_list})
    cohort_keys, cohort_rows = _read_cohort(cohort, cohort_spk2utt)
    enroll_table = _Table(enroll, *read_vectors(enroll))
    test_table = enroll_table if test == enroll else _Table(test, *read_vectors(test))
    tables = [enroll_table] if test == enroll else [enroll_table, test_table]
    center = None if mean is None else read_mean(mean)
    dim = cohort_rows.shape[1]
    dims = [(table.name, table.rows.shape[1]) for table in tables]
    for name, found in [*dims, (mean, dim if center is None else len(center))]:
        if found != dim:
            expected = f"{dim}, as in {cohort}"
            mend = "use one model for all"
            raise DataError(
                "embeddings of different dimension", path=name, found=str(found), expected=expected, mend=mend
            )
    of = top_n if method == "as-norm" else None
    judge = Cohort(cohort_rows, of, mean=center, name=cohort, keys=cohort_keys)
    if cohort_spk2utt is None:
        _warn_of_shared_keys(cohort_keys, tables)
    file = None
    if statistics is not None:
        _check_shared_keys(tables)
        made_of = {
            "top_n": of,
            "cohort": _digest(cohort_keys, cohort_rows),
            "mean": None if center is None else sha256_of_json(center.tolist()),
            "embeddings": [_digest(table.keys, table.rows) for table in tables],
        }
        file = _StatisticsFile(statistics, made_of)
        saved = file.read()
        for table in tables:
            for key in saved.keys() & table.row_of.keys():
                table.statistics[table.row_of[key]] = saved[key]
        log.info("%d saved statistics", len(saved))
    del cohort_rows

    sides = {"z-norm": (0,), "t-norm": (1,)}.get(method, (0, 1))  # enrolment, test
    wanted_tables = [(enroll_table, test_table)[side] for side in sides]

    gone = MissingKeys(scores, [(side, (enroll, test)[side]) for side in sides], "extract their embeddings", missing)

    def locate(first: int, text: bytes) -> tuple[Pairs, np.ndarray, list[np.ndarray], int, list[dict[str, int]]]:
        pairs, values = parse_scores(scores, first, text)
        rows = pairs.rows(enroll_table.index, test_table.index)
        wanted = [rows[side] for side in sides]
        there, absent = gone.of(pairs, wanted, first)
        num_skipped = 0
        if any(absent):
            num_skipped = len(there) - int(there.sum())
            pairs, values, wanted = pairs.chosen(there), values[there], [found[there] for found in wanted]
        return pairs, values, wanted, num_skipped, absent

    def located() -> Iterator[tuple[Pairs, np.ndarray, list[np.ndarray]]]:
        for pairs, values, rows, num_skipped, absent in in_order(locate, score_blocks(scores)):
            if not gone.add(absent, num_skipped):
                continue  # nothing more is normalised, but the missing are counted
            for table, found in zip(wanted_tables, rows, strict=True):
                table.complete(found, judge)
            yield pairs, values, rows

    def normalize(pairs: Pairs, values: np.ndarray, rows: list[np.ndarray]) -> tuple[int, memoryview]:
        found = [table.statistics[chosen] for table, chosen in zip(wanted_tables, rows, strict=True)]  # (K, 2) each
        return len(pairs), pairs.lines(sum((values - side[:, 0]) / side[:, 1] for side in found) / len(found))

    count = 0
    with open_wxfilename(normalized) as output:
        for size, lines in with_progress(in_order(normalize, located()), method):
            output.write(lines)
            count += size
        gone.conclude(count, missing_list)
        known = {
            key: (pair[0], pair[1])
            for table in tables
            for key, pair in zip(table.keys, table.statistics.tolist(), strict=True)
            if not np.isnan(pair[0])
        }
        log.info("%s of %d scores, statistics of %d utterances", method, count, len(known))
        if file is not None and known != saved:
            file.write(known)


def _warn_of_shared_keys(cohort_keys: list[str], tables: list[_Table]) -> None:
    shared = [key for key in cohort_keys if any(key in table.row_of for table in tables)]
    if shared:
        examples = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
        log.warning("%d of the cohort's keys are of embeddings to be scored, too: %s", len(shared), examples)


def _check_shared_keys(tables: list[_Table]) -> None:
    """A key of both tables must mean the same embedding, or one saved line cannot serve both."""
    for left, right in zip(tables, tables[1:], strict=False):
        for key in left.row_of.keys() & right.row_of.keys():
            if not np.array_equal(left.rows[left.row_of[key]], right.rows[right.row_of[key]]):
                what = f"{key!r} is another embedding than in {left.name}"
                raise DataError(f"{what}, so that --stats cannot hold both", path=right.name, mend="leave --stats out")
