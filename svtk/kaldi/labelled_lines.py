"""Score files and labelled trial lists of any length, in Arrow's columns: what error rates are computed from.

Arrow's CSV reader splits a block of lines where words stand one space apart, as every tool writes them. What is out
of the ordinary (tabs, several spaces, keys beyond ASCII) is brought to that form line by line first, and so is the
search for a line that is wrong.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from svtk.errors import DataError
from svtk.kaldi.columns import line_blocks
from svtk.kaldi.trials import LABELS, TrialLayout

__all__ = ["Columns", "KeyCodes", "Layout", "column_blocks", "parse_columns"]

_SPACE = 32

Layout = tuple[str, ...]  #: what the words of a line are: ``enroll``, ``test``, ``score``, ``label``

_SCORE_LAYOUTS = {
    2: ("score", "label"),  # what Kaldi's compute-eer reads
    3: ("enroll", "test", "score"),
    4: ("enroll", "test", "score", "label"),
}
_LABELS = pa.array([word.encode() for word in LABELS], pa.binary())
_IS_TARGET = np.array(list(LABELS.values()))


@dataclasses.dataclass(frozen=True)
class Columns:
    """K lines: ``enroll`` and ``test`` keys, binary Arrow arrays, encoded as dictionaries if asked for; ``scores``
    float64 (K,), infinite ones among them; ``labels`` bool (K,), True = target. None: the lines have none."""

    size: int
    enroll: pa.Array | None = None
    test: pa.Array | None = None
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return self.size

    def part(self, start: int, stop: int) -> Columns:
        """The lines from *start* to before *stop*."""
        columns = (self.enroll, self.test, self.scores, self.labels)
        return Columns(stop - start, *(None if column is None else column[start:stop] for column in columns))

    def same_keys(self, other: Columns) -> bool:
        """Whether the keys are those of *other*, in the same order."""
        return self.enroll.equals(other.enroll) and self.test.equals(other.test)


def column_blocks(rxfilename: str | os.PathLike, what: str) -> Iterator[tuple[Layout, int, bytes]]:
    """Yield the blocks of a ``score file`` or ``trial list`` for :func:`parse_columns`: layout, first line, lines.

    Score files: ``ENROLL TEST SCORE``, ``ENROLL TEST SCORE LABEL``, or ``SCORE LABEL``; trial lists: as
    :class:`TrialLayout`.

    Raises:
        DataError: the file is empty or cannot be read, or its first line is of no known layout.
    """
    layout: Layout | None = None
    for first, text in line_blocks(rxfilename, what):
        if layout is None:
            row = text[: text.index(b"\n")].decode(errors="replace").split()
            layout = _SCORE_LAYOUTS.get(len(row)) if what == "score file" else _trial_layout(row)
            if layout is None:
                expected = "'ENROLL TEST SCORE [LABEL]' or 'SCORE LABEL'"
                if what == "trial list":
                    expected = "'ENROLL TEST target|nontarget' or '1|0 ENROLL TEST'"
                raise _malformed(rxfilename, 1, row, what.split()[0], expected)
        yield layout, first, text


def _trial_layout(row: list[str]) -> Layout | None:
    if len(row) == 3:
        return ("label", "enroll", "test") if TrialLayout.of(row).label_first else ("enroll", "test", "label")
    return ("enroll", "test") if len(row) == 2 else None


def parse_columns(path: str | os.PathLike, layout: Layout, first: int, text: bytes, *, encode: bool = False) -> Columns:
    """The columns of a block.

    Args:
        path: the file's name, for messages.
        layout, first, text: as :func:`column_blocks` yields them.
        encode: encode keys as dictionaries, for :class:`KeyCodes`.

    Raises:
        DataError: a line that does not fit the layout, a score that is no number, or no UTF-8 text.
    """
    table = None
    if text.isascii() and b"\r" not in text:
        num_lines = int(np.count_nonzero(np.frombuffer(text, np.uint8) < _SPACE))  # and more, where there are tabs
        table = _table(layout, text, num_lines)
    if table is None:
        table = _table(layout, _respaced(path, first, text), text.count(b"\n"))
    labels = None if table is None or "label" not in layout else _labels(table["label"])
    scores = None if table is None or "score" not in layout else table["score"].to_numpy()
    if table is None or (labels is None and "label" in layout) or (scores is not None and np.isnan(scores).any()):
        raise _wrong_line(path, layout, first, text)
    keys = [table[name] if name in layout else None for name in ("enroll", "test")]
    if encode:
        keys = [None if column is None else column.dictionary_encode() for column in keys]
    return Columns(len(table[layout[0]]), *keys, scores, labels)


def _respaced(path: str | os.PathLike, first: int, text: bytes) -> bytes:
    """The same words, one space apart."""
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", path=path, line=first + text.count(b"\n", 0, error.start)) from error
    return "\n".join(" ".join(line.split()) for line in lines).encode()


def _table(layout: Layout, text: bytes, num_lines: int) -> dict[str, pa.Array] | None:
    """Columns of words with one space between; None where a line has another number of words, or no number.

    *num_lines* are to be found, of which an empty one is none.
    """
    types = {name: pa.float64() if name == "score" else pa.binary() for name in layout}
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(layout)),
            csv.ParseOptions(delimiter=" ", quote_char=False, escape_char=False),
            csv.ConvertOptions(check_utf8=False, column_types=types, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != num_lines:  # empty ones are passed over
        return None
    columns = {name: table[name].combine_chunks() for name in layout}
    words = [column for name, column in columns.items() if name != "score"]
    return None if any(pc.min(pc.binary_length(column)).as_py() == 0 for column in words) else columns


def _labels(words: pa.Array) -> np.ndarray | None:
    """Bool (K,); None where a word is no label."""
    found = pc.index_in(words, value_set=_LABELS)
    return None if found.null_count else _IS_TARGET[found.to_numpy()]


def _wrong_line(path: str | os.PathLike, layout: Layout, first: int, text: bytes) -> DataError:
    """The error for the first line that is wrong."""
    words = {"enroll": "ENROLL", "test": "TEST", "score": "SCORE"}
    label = "1|0" if layout[0] == "label" else "target|nontarget"
    expected = f"'{' '.join(words.get(name, label) for name in layout)}'"
    for number, line in enumerate(text.decode().split("\n")[:-1], first):
        row = line.split()
        named = dict(zip(layout, row, strict=False))
        if len(row) != len(layout) or named.get("label", "1") not in LABELS:
            return _malformed(path, number, row, "score" if "score" in layout else "trial", expected)
        try:
            score = pa.scalar(named.get("score", "0")).cast(pa.float64()).as_py()
        except pa.ArrowInvalid:
            return _malformed(path, number, row, "score", expected)
        if math.isnan(score):
            mend = "score again, and look at the embeddings of this trial"
            return DataError("a score is not a number", path=path, line=number, found=repr(line.strip()), mend=mend)
    raise AssertionError("every line fits the layout")


def _malformed(path: str | os.PathLike, number: int, row: list[str], what: str, expected: str) -> DataError:
    found = repr(" ".join(row)[:80])
    return DataError(f"malformed {what}", path=path, line=number, found=found, expected=expected)


class KeyCodes:
    """Numbers for keys from 0 on, in the order in which the keys come."""

    _BATCH = 1 << 20  # keys of pending blocks, which are joined at once

    def __init__(self) -> None:
        self._keys = pa.array([], pa.binary())
        self._codes: list[np.ndarray] = []
        self._pending: list[pa.DictionaryArray] = []
        self._num_pending = 0

    @property
    def keys(self) -> list[str]:
        """The key of every number so far."""
        self._join()
        return self._keys.cast(pa.string()).to_pylist()

    def add(self, keys: pa.DictionaryArray) -> None:
        """Take in a block's keys."""
        self._pending.append(keys)
        self._num_pending += len(keys.dictionary)
        if self._num_pending > max(self._BATCH, len(self._keys)):
            self._join()

    def take(self) -> list[np.ndarray]:
        """Numbers, int32, of the keys of every block added since the last call."""
        self._join()
        codes, self._codes = self._codes, []
        return codes

    def _join(self) -> None:
        known = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self._keys)
        chunks = pa.chunked_array([known, *self._pending]).unify_dictionaries().chunks
        self._keys = chunks[0].dictionary
        self._codes += [chunk.indices.to_numpy() for chunk in chunks[1:]]
        self._pending, self._num_pending = [], 0
