"""Trial lists and score files of any length: blocks of whole lines, looked up and written without a loop over lines.

A block is held as its bytes; NumPy finds where words end, Arrow's hash tables turn words into rows of a table, and
the lines that are written are the bytes that were read with the scores put between them. What is out of the ordinary
(tabs, several spaces, odd numbers) goes line by line, and so does the search for a line that is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from svtk.errors import DataError
from svtk.kaldi.streams import open_rxfilename
from svtk.kaldi.text import refuse_byte_order_mark
from svtk.kaldi.trials import LABELS, TrialLayout, malformed_trial

__all__ = [
    "KeyIndex",
    "Pairs",
    "line_blocks",
    "parse_scores",
    "parse_trials",
    "read_score_blocks",
    "score_blocks",
    "trial_blocks",
]

_BYTES = 1 << 24  # of a block
_LONGEST_LINE = 1 << 28  # bytes; a longer one means that this is no text
_SPACE, _NEWLINE = 32, 10
_MANY = 1 << 19  # keys, for which Arrow's table, built anew for each block, takes longer than a search of hashes


class KeyIndex:
    """The rows at which keys stand in a table.

    Args:
        keys: the table's keys in order, each once.
    """

    def __init__(self, keys: Sequence[str]):
        self.keys = keys
        self._words = pa.array([key.encode() + b" " for key in keys], pa.binary())
        self._order: np.ndarray | None = None
        self._hashes: np.ndarray | None = None  # of all keys, rising
        if len(keys) > _MANY:
            hashes = _hashed(self._words)
            order = np.argsort(hashes)
            hashes = hashes[order]
            if (hashes[1:] != hashes[:-1]).all():
                self._order, self._hashes = order, hashes

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, words: pa.Array) -> np.ndarray:
        """Words, each with the space behind it, (K,) → integers (K,), -1 for those that are not in the table."""
        if self._hashes is None:
            return pc.index_in(words, value_set=self._words).fill_null(-1).to_numpy(zero_copy_only=False)
        wanted = _hashed(words)
        order = np.argsort(wanted)  # neighbours are found in neighbouring memory
        places = np.empty(len(wanted), np.int64)
        places[order] = np.searchsorted(self._hashes, wanted[order])
        rows = self._order[np.minimum(places, len(self) - 1)]
        there = pc.equal(self._words.take(pa.array(rows)), words).to_numpy(zero_copy_only=False)
        return np.where(there, rows, -1)


def _hashed(words: pa.Array) -> np.ndarray:
    """Hashes of words, int64 (K,); the same for the same word within a process."""
    return np.fromiter(map(hash, words.to_pylist()), np.int64, len(words))


class Pairs:
    """K pairs of keys: enrolment and test side of each line of a block.

    Args:
        data: uint8, ``ENROLL TEST `` K times: a space behind every key.
        ends: where these 2 K spaces stand.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self._data, self._ends = data, ends

    def __len__(self) -> int:
        return len(self._ends) // 2

    def __getitem__(self, number: int) -> tuple[str, str]:
        """The keys of one pair."""
        start = 0 if number == 0 else self._ends[2 * number - 1] + 1
        enroll, test = self._data[start : self._ends[2 * number + 1]].tobytes().decode().split(" ")
        return enroll, test

    def keys(self, side: int) -> list[str]:
        """The keys of one side: 0, enrolment, or 1, test."""
        return self._data.tobytes().decode().split(" ")[side:-1:2]

    def same(self, other: Pairs) -> bool:
        """Whether all pairs are those of *other*, in the same order."""
        return len(self) == len(other) and np.array_equal(self._data, other._data)

    def rows(self, enroll: KeyIndex, test: KeyIndex) -> tuple[np.ndarray, np.ndarray]:
        """Rows of both sides in their tables, integers (K,) each; -1 for keys that a table lacks."""
        words = _binary(self._data, self._ends)
        rows = enroll.rows(words)
        return rows[0::2], (rows if test is enroll else test.rows(words))[1::2]

    def part(self, start: int, stop: int) -> Pairs:
        """The pairs from *start* to before *stop*."""
        first = 0 if start == 0 else int(self._ends[2 * start - 1]) + 1
        ends = self._ends[2 * start : 2 * stop]
        return Pairs(self._data[first : int(ends[-1]) + 1 if len(ends) else first], ends - first)

    def chosen(self, wanted: np.ndarray) -> Pairs:
        """The pairs marked in *wanted*, bool (K,)."""
        return Pairs(*_chosen(self._data, self._ends, np.repeat(wanted, 2)))

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of *parts*, one after the other."""
        starts = np.cumsum([0, *(len(part._data) for part in parts[:-1])])
        ends = [part._ends + start for part, start in zip(parts, starts, strict=True)]
        return cls(np.concatenate([part._data for part in parts]), np.concatenate(ends))

    def lines(self, scores: np.ndarray) -> memoryview:
        """The lines ``ENROLL TEST SCORE`` of a score file; scores (K,) with six decimals."""
        pairs = _binary(self._data, self._ends[1::2])
        lines = pc.binary_join_element_wise(pairs, _decimals(scores).cast(pa.binary()), b"\n", b"")
        _, offsets, data = lines.buffers()
        return memoryview(data)[: np.frombuffer(offsets, np.int32)[len(lines)]]


def _binary(data: np.ndarray, ends: np.ndarray) -> pa.Array:
    """Words as Arrow holds them: each from behind the end of that before it to its own end."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    np.add(ends, 1, out=offsets[1:], casting="unsafe")
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _chosen(data: np.ndarray, ends: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Data and ends of the words marked in *wanted* (W,) only."""
    lengths = np.diff(ends, prepend=-1)
    return data[np.repeat(wanted, lengths)], np.cumsum(lengths[wanted]) - 1


def _decimals(scores: np.ndarray) -> pa.Array:
    """Numbers (K,) as text, exactly as Python's ``f"{score:.6f}"`` writes them."""
    scores = np.asarray(scores, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.abs(scores) * 1e6
        whole = np.rint(scaled)
        # Rounding of the product may have made or hidden a tie; Arrow's whole numbers know neither -0 nor more digits.
        odd = ~(scaled < 2**51) | (np.abs(scaled - np.floor(scaled) - 0.5) <= scaled * 2**-51)
        odd |= np.signbit(scores) & (whole == 0)
    whole[odd] = 0
    halves = np.empty((len(scores), 2), np.int64)  # of 128 bits
    halves[:, 0] = np.copysign(whole, scores)
    halves[:, 1] = halves[:, 0] >> 63
    texts = pa.Array.from_buffers(pa.decimal128(19, 6), len(scores), [None, pa.py_buffer(halves)]).cast(pa.string())
    if odd.any():
        texts = pc.replace_with_mask(texts, pa.array(odd), pa.array([f"{score:.6f}" for score in scores[odd].tolist()]))
    return texts


# Reading


def line_blocks(rxfilename: str | os.PathLike, what: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number of a block's first line, counted from 1, and its whole lines; the last ends in a newline too.

    Raises:
        DataError: the file cannot be opened, its command fails, it is empty (*what*), it begins with a byte order
            mark, or a line has no end.
    """
    first, begun = 1, []
    with open_rxfilename(rxfilename) as file:
        while data := file.read(_BYTES):
            cut = data.rfind(b"\n") + 1
            if cut == 0:
                begun.append(data)
                if sum(map(len, begun)) > _LONGEST_LINE:
                    raise DataError(f"a line of {_LONGEST_LINE} bytes or more", path=rxfilename, line=first)
                continue
            text = b"".join([*begun, data[:cut]])
            begun = [data[cut:]] if cut < len(data) else []
            refuse_byte_order_mark(text, first, rxfilename)
            yield first, text
            first += int(np.count_nonzero(np.frombuffer(text, np.uint8) == _NEWLINE))  # count() is slow on short lines
        if begun:
            text = b"".join([*begun, b"\n"])
            refuse_byte_order_mark(text, first, rxfilename)
            yield first, text
        elif first == 1:
            raise DataError(f"the {what} is empty", path=rxfilename)


def _words(path: str | os.PathLike, first: int, text: bytes, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A block's bytes and where its words end, *width* words to a line; None where a line has another number.

    Raises:
        DataError: it is not UTF-8 text.
    """
    plain = text.isascii()
    if not plain:
        try:
            plain = len(text.decode().split()) == len(text.split())  # no white space beyond ASCII's
        except UnicodeDecodeError as error:
            raise DataError("not UTF-8 text", path=path, line=first + text.count(b"\n", 0, error.start)) from error
    data = np.frombuffer(text, np.uint8)
    found = _single_spaced(data, np.flatnonzero(data <= _SPACE), width) if plain else None
    if found is None:
        lines = [" ".join(line.split()) for line in text.decode().split("\n")]
        data = np.frombuffer("\n".join(lines).encode(), np.uint8)  # other control characters are part of a word
        found = _single_spaced(data, np.flatnonzero((data == _SPACE) | (data == _NEWLINE)), width)
    return found


def _single_spaced(data: np.ndarray, ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Data and ends of words, where these are *width* to a line with single spaces between; None: they are not."""
    if len(ends) % width or (np.diff(ends, prepend=-1) < 2).any():
        return None
    marks = data[ends].reshape(-1, width)
    return (data, ends) if (marks[:, -1] == _NEWLINE).all() and (marks[:, :-1] == _SPACE).all() else None


def _pairs(data: np.ndarray, ends: np.ndarray, wanted: Sequence[bool]) -> Pairs:
    """The pairs of keys among the words of each line."""
    if not all(wanted):
        data, ends = _chosen(data, ends, np.tile(np.array(wanted), len(ends) // len(wanted)))
    else:
        data = data.copy()
    data[ends[1::2]] = _SPACE
    data[ends[0::2]] = _SPACE
    return Pairs(data, ends)


def trial_blocks(rxfilename: str | os.PathLike) -> Iterator[tuple[TrialLayout, int, bytes]]:
    """Yield the blocks of a trial list for :func:`parse_trials`: its layout, a block's first line, the lines.

    Raises:
        DataError: the list is empty or cannot be read.
    """
    layout = None
    for first, text in line_blocks(rxfilename, "trial list"):
        if layout is None:
            layout = TrialLayout.of(text[: text.index(b"\n")].decode(errors="replace").split())
        yield layout, first, text


def parse_trials(path: str | os.PathLike, layout: TrialLayout, first: int, text: bytes) -> Pairs:
    """The keys of a block's trials.

    Args:
        path: the list's name, for messages.
        layout, first, text: as :func:`trial_blocks` yields them.

    Raises:
        DataError: a line that does not fit the layout, or is not UTF-8 text.
    """
    found = _words(path, first, text, layout.width) if layout.width in (2, 3) else None
    if found is not None:
        if layout.width == 2:
            return _pairs(*found, (True, True))
        places = (False, True, True) if layout.label_first else (True, True, False)
        words = _chosen(*found, np.tile(~np.array(places), len(found[1]) // 3))
        labels = [word.encode() + space for word in LABELS for space in (b" ", b"\n")]
        if pc.all(pc.is_in(_binary(*words), value_set=pa.array(labels, pa.binary()))).as_py():
            return _pairs(*found, places)
    for number, row in enumerate(_rows(text), first):
        if layout.parse(row) is None:
            raise malformed_trial(row, layout, path, number)
    raise AssertionError("every line fits the layout")


def _rows(text: bytes) -> Iterator[list[str]]:
    return map(str.split, text.decode().split("\n")[:-1])


def score_blocks(rxfilename: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks of a score file for :func:`parse_scores`: a block's first line, the lines.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    return line_blocks(rxfilename, "score file")


def parse_scores(path: str | os.PathLike, first: int, text: bytes) -> tuple[Pairs, np.ndarray]:
    """The keys of a block's lines, and their scores, float64 (K,).

    Args:
        path: the file's name, for messages.
        first, text: as :func:`score_blocks` yields them.

    Raises:
        DataError: a line that is not ``enroll test score``, a score that is no finite number, or no UTF-8 text.
    """
    found = _words(path, first, text, 3)
    scores = None if found is None else _numbers(*_chosen(*found, np.tile([False, False, True], len(found[1]) // 3)))
    if found is None or scores is None or not np.isfinite(scores).all():
        number, row = next((n, row) for n, row in enumerate(_rows(text), first) if not _is_score(row))
        expected = "'ENROLL TEST SCORE' with a finite score"
        raise DataError("malformed score", path=path, line=number, found=repr(" ".join(row)), expected=expected)
    return _pairs(*found, (True, True, False)), scores


def _numbers(data: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """The numbers that words say, float64; None where one says none."""
    lengths = np.diff(ends, prepend=-1)
    bare = np.ones(len(data), bool)
    bare[ends] = False
    words = _binary(data[bare], np.cumsum(lengths - 1) - 1)
    try:
        return words.cast(pa.string()).cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        pass
    try:
        return np.array([float(word) for word in data.tobytes().decode().split()])
    except ValueError:
        return None


def _is_score(row: list[str]) -> bool:
    try:
        return len(row) == 3 and bool(np.isfinite(float(row[2])))
    except ValueError:
        return False


def read_score_blocks(rxfilename: str | os.PathLike) -> Iterator[tuple[int, Pairs, np.ndarray]]:
    """Yield the number of a block's first line, its pairs (K) and their scores, float64 (K,).

    Raises:
        DataError: as :func:`score_blocks` and :func:`parse_scores`.
    """
    for first, text in score_blocks(rxfilename):
        yield first, *parse_scores(rxfilename, first, text)
