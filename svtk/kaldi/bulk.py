"""Tables of equally long vectors, read in big pieces: what scoring needs of a hundred thousand embeddings.

A binary archive of one kind and dimension repeats the same few bytes before every vector, so that a search for
them finds the entries. Where an archive does not go on so, it is left to :mod:`svtk.kaldi.entries`, which reads
whatever there is and names what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.specifiers import parse_rxfilename, split_range

__all__ = ["read_at_offsets", "read_run"]

_PIECE = 1 << 24  # bytes read at a time
_LONGEST_KEY = 4096  # bytes
_LONGEST_VECTOR = 1 << 20  # bytes
_SEEK = 1 << 16  # bytes between two vectors that are rather passed over than read
_KINDS = {b"FV": np.dtype("<f4"), b"DV": np.dtype("<f8")}
_HEADER_SIZE = 10  # "\0BFV \4" and an int32


def _header(data: bytes, start: int) -> tuple[bytes, np.dtype, int] | None:
    """The bytes before a vector's values that stand at *start*, the values' type and their number.

    None where others stand there, or the number is one that only damage explains.
    """
    header = data[start : start + _HEADER_SIZE]
    kind = _KINDS.get(header[2:4])
    if len(header) < _HEADER_SIZE or header[:2] != b"\0B" or kind is None or header[4:6] != b" \4":
        return None
    dim = int.from_bytes(header[6:], "little", signed=True)
    return (header, kind, dim) if 0 < dim * kind.itemsize <= _LONGEST_VECTOR else None


def _keys(raw: list[bytes]) -> list[str] | None:
    """The keys as text; None where one cannot be a key or stands twice."""
    try:
        text = b"\n".join(raw).decode("utf-8")
    except UnicodeDecodeError:
        return None
    keys = text.split("\n")
    sound = len(keys) == len(raw) == len(set(keys)) and "" not in keys
    return keys if sound and "".join(keys).isprintable() and " " not in text else None


def read_run(file: BinaryIO) -> tuple[list[str], np.ndarray | None, bytes, int]:
    """Read entries of an archive for as long as they are vectors of one kind and dimension.

    Args:
        file: an archive, open for binary reading, from an entry's beginning.

    Returns:
        the N keys; float32 (N, D), or None when there are none; what was read behind them: empty at the
        archive's end, or the beginning of an entry that is left to another reader; and at which byte that stands,
        counted from where reading began.
    """
    keys: list[str] = []
    pieces: list[np.ndarray] = []
    seen: set[str] = set()
    data, header, num_bytes = b"", b"", 0
    while more := file.read(_PIECE):
        data += more
        num_bytes += len(more)
        if not header:
            start = data.find(b" \0B", 0, _LONGEST_KEY + 3)
            found = _header(data, start + 1) if start > 0 else None
            if found is None:
                break
            header, kind, dim = found
            mark, size = b" " + header, dim * kind.itemsize
        raw, values, place = [], [], 0
        view = memoryview(data)
        while (end := data.find(mark, place, place + _LONGEST_KEY + len(mark))) > place:
            start = end + len(mark)
            if start + size > len(data):
                break
            raw.append(data[place:end])
            values.append(view[start : start + size])
            place = start + size
        if raw:
            new = _keys(raw)
            if new is None or not seen.isdisjoint(new):
                break
            keys += new
            seen.update(new)
            pieces.append(np.frombuffer(b"".join(values), kind).reshape(-1, dim).astype(np.float32, copy=False))
        if not raw and len(data) > 2 * (_PIECE + size):
            break
        del view, values
        data = data[place:]
    return keys, _stack(pieces), data, num_bytes - len(data)


def _stack(pieces: list[np.ndarray]) -> np.ndarray | None:
    """Pieces (n, D) one below the other, each freed when it is copied; None when there are none."""
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    rows = np.empty((sum(map(len, pieces)), pieces[0].shape[1]), np.float32)
    start = len(rows)
    while pieces:
        piece = pieces.pop()
        start -= len(piece)
        rows[start : start + len(piece)] = piece
    return rows


def read_at_offsets(entries: Mapping[str, str]) -> np.ndarray | None:
    """Read the vectors that a script file names, file by file and in the order of their offsets.

    Args:
        entries: rxfilename of each of N keys.

    Returns:
        float32 (N, D) in the order of *entries*; None where one of them is not a binary vector of the first's
        kind and dimension at an offset of a regular file.
    """
    places: dict[str, list[tuple[int, int]]] = {}  # file → (offset, row)
    for row, entry in enumerate(entries.values()):
        path, _, offset = entry.rpartition(":")
        if not (offset.isascii() and offset.isdigit()):
            return None
        places.setdefault(path, []).append((int(offset), row))
    rows, header = None, b""
    for path, wanted in places.items():
        try:
            if parse_rxfilename(path).kind != "file" or split_range(path)[1] or not os.path.isfile(path):
                return None
            with open(path, "rb") as file:
                wanted.sort()
                if not header:
                    file.seek(wanted[0][0])
                    found = _header(file.read(_HEADER_SIZE), 0)
                    if found is None:
                        return None
                    header, kind, dim = found
                    rows = np.empty((len(entries), dim), np.float32)
                for run in _runs(wanted, len(header) + dim * kind.itemsize):
                    vectors = _read_run_of_offsets(file, run, header, dim * kind.itemsize)
                    if vectors is None:
                        return None
                    rows[[row for _, row in run]] = np.frombuffer(vectors, kind).reshape(-1, dim)
        except (OSError, DataError, OverflowError, MemoryError):
            return None
    return rows


def _runs(wanted: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    """Sorted (offset, row) in groups that lie close together and within one piece."""
    run: list[tuple[int, int]] = []
    for place in wanted:
        if run and (place[0] - run[-1][0] > size + _SEEK or place[0] - run[0][0] > _PIECE):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _read_run_of_offsets(file: BinaryIO, run: list[tuple[int, int]], header: bytes, size: int) -> bytes | None:
    """The *size* bytes behind the header at each offset, joined; None where another header stands."""
    first = run[0][0]
    file.seek(first)
    data = file.read(run[-1][0] - first + len(header) + size)
    view = memoryview(data)
    values = []
    for offset, _ in run:
        start = offset - first + len(header)
        if not data.startswith(header, offset - first) or start + size > len(data):
            return None
        values.append(view[start : start + size])
    return b"".join(values)
