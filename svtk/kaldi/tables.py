"""Read and write Kaldi tables of vectors, matrices and numbers.

A failing pipe is an error, duplicate keys are refused, a damaged archive is named by file, key and offset,
and an archive or script file appears under its final name only when it is whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator
from typing import Any

import numpy as np

from svtk.errors import DataError
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
    reader = ScpReader(path, permissive=permissive, decode=decode)
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
        log.warning("%s: %d of %d entries were left out", path, num_left_out, len(reader))


def _read_archive(
    path: str, permissive: bool, decode: Callable, keys: Container[str] | None
) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    try:
        with open_rxfilename(path) as file:
            source = ByteSource(file)
            while (key := read_key(source, path)) is not None:
                if key in seen:
                    raise DataError(f"key {key!r} stands twice", path=path, mend="keep one of the two entries")
                wanted = keys is None or key in keys
                value = (decode if wanted else skip_array)(source, path, key)
                seen.add(key)
                if wanted:
                    yield key, value
    except DataError as error:
        if not permissive:
            raise
        log.warning("after %d entries, the rest is left out: %s", len(seen), error)


def read_vectors(rspecifier: str) -> tuple[list[str], np.ndarray]:
    """Read a whole table of equally long vectors.

    Returns:
        keys, and a float32 array (N, D) with one row per key.

    Raises:
        DataError: as :func:`read_table`; also an empty table, a matrix, or rows of different length.
    """
    keys, rows = [], []
    for key, array in read_table(rspecifier):
        if array.ndim != 1 or (rows and array.shape != rows[0].shape):
            expected = f"a vector of {rows[0].shape[0]}, as {keys[0]!r}" if rows else "a vector"
            found = f"shape {array.shape}"
            raise DataError(f"entry {key!r} does not fit", path=rspecifier, found=found, expected=expected)
        keys.append(key)
        rows.append(np.asarray(array, dtype=np.float32))
    if not rows:
        raise DataError("the table is empty", path=rspecifier)
    return keys, np.stack(rows)
