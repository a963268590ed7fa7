"""Read and write Kaldi tables of vectors, matrices and numbers.

A failing pipe is an error, duplicate keys are refused, a damaged archive is named by file, key and offset,
and an archive or script file appears under its final name only when it is whole.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.bulk import read_at_offsets, read_run
from svtk.kaldi.encoding import COMPRESSION
from svtk.kaldi.entries import decode_array, decode_float, decode_int, read_key, skip_array
from svtk.kaldi.scripts import ScpReader, read_array, read_script
from svtk.kaldi.specifiers import parse_rspecifier
from svtk.kaldi.streams import ByteSource, open_rxfilename
from svtk.kaldi.table_writer import TableWriter

__all__ = [
    "COMPRESSION",
    "ScpReader",
    "TableWriter",
    "open_rxfilename",
    "read_array",
    "read_numbers",
    "read_script",
    "read_table",
    "read_vectors",
]

log = logging.getLogger(__name__)


def read_table(rspecifier: str, keys: Container[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(key, array)`` from a table in its order; arrays are (D,) vectors or (T, D) matrices.

    Args:
        rspecifier: the table.
        keys: pass over the entries of all other keys; None: read all.

    Raises:
        DataError: malformed specifier, missing file, failing pipe, damaged entry or duplicate key. With the
            option ``p`` (permissive) unreadable entries of a script file, or everything after the damage in
            an archive, are left out with a warning instead.
    """
    return _read(rspecifier, decode_array, keys)


def read_numbers(rspecifier: str, kind: type[int] | type[float]) -> Iterator[tuple[str, int | float]]:
    """Yield ``(key, number)`` from a table of one number per key, such as utt2num_frames or utt2dur.

    Args:
        rspecifier: binary or text; an archive does not say what it holds, so *kind* must.
        kind: ``int`` (Kaldi's int32) or ``float`` (Kaldi's float or double).

    Raises:
        DataError: as :func:`read_table`.
    """
    return _read(rspecifier, {int: decode_int, float: decode_float}[kind])


def _read(
    rspecifier: str, decode: Callable[[ByteSource, str, str], Any], keys: Container[str] | None = None
) -> Iterator[tuple[str, Any]]:
    spec = parse_rspecifier(rspecifier)
    entries = _read_archive if spec.kind == "ark" else _read_scripted
    yield from entries(spec.rxfilename, spec.permissive, decode, keys)


def _read_scripted(
    path: str, permissive: bool, decode: Callable, keys: Container[str] | None
) -> Iterator[tuple[str, Any]]:
    yield from _scripted_entries(ScpReader(path, permissive=permissive, decode=decode), permissive, keys)


def _scripted_entries(
    reader: ScpReader, permissive: bool, keys: Container[str] | None = None
) -> Iterator[tuple[str, Any]]:
    num_left_out = 0
    for key in reader:
        if keys is not None and key not in keys:
            continue
        try:
            value = reader[key]
        except DataError as error:
            if not permissive:
                raise
            log.warning("left out: %s", error)
            num_left_out += 1
            continue
        yield key, value
    if num_left_out > 1:
        log.warning("%s: %d of %d entries were left out", reader.path, num_left_out, len(reader))


def _read_archive(
    path: str, permissive: bool, decode: Callable, keys: Container[str] | None
) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    try:
        with open_rxfilename(path) as file:
            yield from _archived_entries(ByteSource(file), path, decode, keys, seen)
    except DataError as error:
        if not permissive:
            raise
        log.warning("after %d entries, the rest is left out: %s", len(seen), error)


def _archived_entries(
    source: ByteSource, path: str, decode: Callable, keys: Container[str] | None, seen: set[str]
) -> Iterator[tuple[str, Any]]:
    """The entries from here on; their keys are added to *seen*, and may not be in it."""
    while (key := read_key(source, path)) is not None:
        if key in seen:
            raise DataError(f"key {key!r} stands twice", path=path, mend="keep one of the two entries")
        wanted = keys is None or key in keys
        value = (decode if wanted else skip_array)(source, path, key)
        seen.add(key)
        if wanted:
            yield key, value


def read_vectors(rspecifier: str) -> tuple[list[str], np.ndarray]:
    """Read a whole table of equally long vectors; binary ones in bulk.

    Returns:
        keys, and a float32 array (N, D) with one row per key.

    Raises:
        DataError: as :func:`read_table`; also an empty table, a matrix, or rows of different length.
    """
    spec = parse_rspecifier(rspecifier)
    if spec.permissive:
        return _stacked(read_table(rspecifier), [], None, rspecifier)
    if spec.kind == "scp":
        reader = ScpReader(spec.rxfilename)
        rows = read_at_offsets({key: reader.rxfilename(key) for key in reader})
        if rows is not None:
            return list(reader), rows
        return _stacked(_scripted_entries(reader, False), [], None, rspecifier)
    with open_rxfilename(spec.rxfilename) as file:
        keys, rows, rest, offset = read_run(file)
        source = _behind(file, rest, offset)
        left = _archived_entries(source, spec.rxfilename, decode_array, None, set(keys)) if rest else ()
        return _stacked(left, keys, rows, rspecifier)


def _stacked(
    entries: Iterable[tuple[str, np.ndarray]], keys: list[str], first: np.ndarray | None, rspecifier: str
) -> tuple[list[str], np.ndarray]:
    """Keys and float32 rows (N, D): those read already, *keys* and *first*, and those of *entries* behind them."""
    keys, rows = [*keys], []
    parts = [] if first is None else [first]
    dim = None if first is None else first.shape[1]
    for key, array in entries:
        if array.ndim != 1 or (dim is not None and len(array) != dim):
            expected = "a vector" if dim is None else f"a vector of {dim}, as {keys[0]!r}"
            found = f"shape {array.shape}"
            raise DataError(f"entry {key!r} does not fit", path=rspecifier, found=found, expected=expected)
        dim = len(array)
        keys.append(key)
        rows.append(np.asarray(array, dtype=np.float32))
    if not keys:
        raise DataError("the table is empty", path=rspecifier)
    if rows:
        parts.append(np.stack(rows))
    return keys, parts[0] if len(parts) == 1 else np.concatenate(parts)


def _behind(file: BinaryIO, rest: bytes, offset: int) -> ByteSource:
    """What follows in a file of which *rest*, the bytes from *offset* on, was read too far."""
    if file.seekable():
        file.seek(file.tell() - len(rest))
        return ByteSource(file)
    source = ByteSource(io.BufferedReader(_Unread(file, rest)))
    source.offset = offset
    return source


class _Unread(io.RawIOBase):
    """A pipe with bytes put back before its end."""

    def __init__(self, file: BinaryIO, rest: bytes):
        self._file, self._rest = file, io.BytesIO(rest)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        return self._rest.readinto(buffer) or self._file.readinto1(buffer)
