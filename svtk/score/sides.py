"""The two sides of a trial list: tables of embeddings, or models of several embeddings each."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.columns import KeyIndex
from svtk.kaldi.tables import read_vectors
from svtk.kaldi.text import read_spk2utt

__all__ = ["Groups", "Side", "read_sides", "shared_pairs"]

log = logging.getLogger(__name__)

_ROWS = 1 << 14  # rows averaged at a time


@dataclasses.dataclass(frozen=True)
class Groups:
    """M groups of rows of a table: ``members`` integers (S,), all groups one after the other; ``starts`` (M + 1,)."""

    members: np.ndarray
    starts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each group (M,), at least 1."""
        return np.diff(self.starts)

    def means(self, rows: np.ndarray) -> np.ndarray:
        """Mean of each group's rows, summed in float64: (N, ...) → (M, ...) of the same type."""
        result = np.empty((len(self.starts) - 1, *rows.shape[1:]), rows.dtype)
        first = 0
        while first < len(result):
            last = max(first + 1, int(np.searchsorted(self.starts, self.starts[first] + _ROWS, "right")) - 1)
            members = self.members[self.starts[first] : self.starts[last]]
            sums = np.add.reduceat(rows[members].astype(np.float64), self.starts[first:last] - self.starts[first])
            result[first:last] = (sums.T / self.sizes[first:last]).T
            first = last
        return result

    def any(self, marked: np.ndarray) -> np.ndarray:
        """For each group a marked row, or -1: bool (N,) → integers (M,)."""
        return np.maximum.reduceat(np.where(marked[self.members], self.members, -1), self.starts[:-1])


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a trial list.

    ``table`` is the rspecifier, with its ``keys`` (N) and ``rows`` float32 (N, D). ``index`` has the keys that trials
    name: those of the table or, with ``groups``, of models of its rows, which ``name`` (a file) lists.
    """

    what: str
    table: str
    keys: Sequence[str]
    rows: np.ndarray
    index: KeyIndex
    name: str
    groups: Groups | None = None


def read_sides(
    enroll: str,
    test: str,
    enroll_spk2utt: str | None = None,
    test_spk2utt: str | None = None,
    *,
    skip_missing: bool = False,
) -> tuple[Side, Side]:
    """Read the embeddings, and the models, of both sides; a table or a list given for both is read once.

    Args:
        enroll, test: rspecifiers of embeddings (D,).
        enroll_spk2utt, test_spk2utt: ``model utt utt ...`` lines.
        skip_missing: utterances of models that have no embedding are counted and left out, and so are models of
            which nothing is left; otherwise they are an error.

    Raises:
        DataError: what cannot be read, embeddings of different dimension, or an utterance without embedding.
    """
    tables = {name: read_vectors(name) for name in dict.fromkeys((enroll, test))}
    indices = {name: KeyIndex(keys) for name, (keys, _) in tables.items()}
    dim, found = (tables[name][1].shape[1] for name in (enroll, test))
    if found != dim:
        raise DataError(
            "embeddings of different dimension",
            path=test,
            found=str(found),
            expected=f"{dim}, as in {enroll}",
            mend="use one model for all",
        )
    lists = {name: read_spk2utt(name) for name in dict.fromkeys((enroll_spk2utt, test_spk2utt)) if name is not None}
    sides = []
    for what, table, spk2utt in (("enrolment", enroll, enroll_spk2utt), ("test", test, test_spk2utt)):
        keys, rows = tables[table]
        if spk2utt is None:
            sides.append(Side(what, table, keys, rows, indices[table], table))
        else:
            models, groups = _groups(lists[spk2utt], keys, spk2utt, table, skip_missing)
            sides.append(Side(what, table, keys, rows, KeyIndex(models), spk2utt, groups))
    return sides[0], sides[1]


def _groups(
    lists: Mapping[str, Sequence[str]], keys: Sequence[str], path: str, table: str, skip_missing: bool
) -> tuple[list[str], Groups]:
    row_of = dict(zip(keys, range(len(keys)), strict=True))
    absent = [(number, utt) for number, utts in enumerate(lists.values(), 1) for utt in utts if utt not in row_of]
    if absent:
        examples = ", ".join(repr(utt) for _, utt in absent[:3]) + (" ..." if len(absent) > 3 else "")
        what = f"{len(absent)} utterance(s) are not in {table}"
        if not skip_missing:
            mend = "extract their embeddings, take them out, or leave them out with --missing skip"
            raise DataError(what, path=path, line=absent[0][0], found=examples, mend=mend)
        log.warning("%s: %s and are left out of their models: %s", path, what, examples)
    members = {model: found for model, utts in lists.items() if (found := [row_of[u] for u in utts if u in row_of])}
    if not members:
        raise DataError(f"no utterance of any model is in {table}", path=path, expected=f"keys as {keys[0]!r}")
    starts = np.cumsum([0, *map(len, members.values())])
    return list(members), Groups(np.array([row for found in members.values() for row in found]), starts)


def shared_pairs(enroll: Side, test: Side) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function that tells, for rows of the two sides, (K,) and (K,), whether they share an utterance: bool (K,)."""
    same = test.keys is enroll.keys
    row_of = {} if same else dict(zip(test.keys, range(len(test.keys)), strict=True))
    twin = np.arange(len(enroll.keys)) if same else np.array([row_of.get(key, -1) for key in enroll.keys])
    if enroll.groups is None and test.groups is None:
        return lambda left, right: twin[left] == right
    units, utts = _units(enroll)
    utts = twin[utts]
    units, utts = units[utts >= 0], utts[utts >= 0]
    test_units, test_utts = _units(test)
    order = np.argsort(test_utts, kind="stable")
    test_units, test_utts = test_units[order], test_utts[order]
    first, last = (np.searchsorted(test_utts, utts, end) for end in ("left", "right"))
    counts = last - first
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    width = len(test.index)
    codes = np.unique(np.repeat(units, counts) * width + test_units[place])

    def shared(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        wanted = left.astype(np.int64) * width + right
        if len(codes) == 0:
            return np.zeros(len(wanted), dtype=bool)
        return codes[np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)] == wanted

    return shared


def _units(side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the side as trials name them, and of the table, that belong together."""
    if side.groups is None:
        rows = np.arange(len(side.keys))
        return rows, rows
    return np.repeat(np.arange(len(side.index)), side.groups.sizes), side.groups.members
