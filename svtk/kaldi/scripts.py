"""Kaldi script files: ``key rxfilename`` lines, with ranges behind the rxfilename."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.entries import decode_array, decode_rows
from svtk.kaldi.specifiers import Range, split_range
from svtk.kaldi.streams import ByteSource, open_rxfilename
from svtk.kaldi.text import refuse_byte_order_mark

__all__ = ["ScpReader", "read_array", "read_script"]

_TOLERANCE = 3  # rows a range may reach past the end, as in Kaldi: frames are counted in more than one way

log = logging.getLogger(__name__)


def read_script(rxfilename: str) -> dict[str, str]:
    """Read ``key rest`` lines: what stands behind each key, in the file's order.

    Args:
        rxfilename: a path, ``-`` or ``command |``.

    Raises:
        DataError: it cannot be read, a byte order mark, a malformed line or a key that stands twice (with the line).
    """
    entries: dict[str, str] = {}
    with open_rxfilename(rxfilename) as file:
        for number, raw in enumerate(file, 1):
            refuse_byte_order_mark(raw, number, rxfilename)
            try:
                fields = [field.decode("utf-8") for field in raw.strip().split(None, 1)]
            except UnicodeDecodeError as error:
                mend = "is it an archive (ark:)?"
                raise DataError("not UTF-8 text", path=rxfilename, line=number, mend=mend) from error
            if len(fields) != 2:
                found = repr(" ".join(fields)[:80])
                expected = "'KEY FILE:OFFSET'"
                raise DataError("malformed script line", path=rxfilename, line=number, found=found, expected=expected)
            key, entry = fields
            if key in entries:
                raise DataError(f"key {key!r} stands twice", path=rxfilename, line=number, mend="keep one of the two")
            entries[key] = entry
    return entries


class ScpReader:
    """Random access to the entries of a script file (``key file.ark:offset`` lines, with ``[a:b,c:d]`` ranges).

    A mapping from key to array, in the file's order; nothing is loaded before it is asked for, and no file
    stays open, so that it may be shared with forked workers. That the files it names are there is checked at
    once, each file once.

    Args:
        path: rxfilename of the script file.
        permissive: leave out, with one warning, the entries whose files are not there.
        decode: reads one entry (:mod:`svtk.kaldi.entries`).

    Raises:
        DataError: missing file, malformed line or duplicate key (with the line), damaged entry, or files
            that are not there (how many entries, and the first).
    """

    def __init__(
        self,
        path: str,
        *,
        permissive: bool = False,
        decode: Callable[[ByteSource, str, str], Any] = decode_array,
    ):
        self.path = path
        self._decode = decode
        self._entries = read_script(path)
        gone = _without_file(self._entries)
        if gone:
            examples = ", ".join(f"{key!r} in {file}" for key, file in list(gone.items())[:3])
            what = f"{len(gone)} of {len(self._entries)} entries are in files that do not exist"
            if not permissive:
                mend = "write them again, take the lines out, or leave them out with scp,p:"
                raise DataError(what, path=path, found=examples + (" ..." if len(gone) > 3 else ""), mend=mend)
            log.warning("%s: %s and are left out: %s", path, what, examples)
            self._entries = {key: entry for key, entry in self._entries.items() if key not in gone}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def rxfilename(self, key: str) -> str:
        """What stands behind *key* in the script file."""
        return self._entries[key]

    def __getitem__(self, key: str) -> np.ndarray:
        with self._naming(key):
            return _read_one(self._entries[key], key, self._decode)

    def rows(self, key: str, first: int, num_rows: int) -> tuple[np.ndarray, int]:
        """Rows [first, first + num_rows) of the matrix of *key*, those that there are, and its number of rows.

        The others are not read where the format allows it (:func:`svtk.kaldi.entries.decode_rows`).

        Raises:
            DataError: damaged entry, or no matrix.
        """

        def decode(source: ByteSource, path: str, key: str) -> tuple[np.ndarray, int]:
            return decode_rows(source, path, key, first, num_rows)

        entry = self._entries[key]
        with self._naming(key):
            if split_range(entry)[1]:
                matrix = _read_one(entry, key, decode_array)
                return matrix[first : first + num_rows], len(matrix)
            return _read_one(entry, key, decode)

    @contextlib.contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """Errors tell the key."""
        try:
            yield
        except DataError as error:
            if f"key {key!r}" in error.what or f"entry {key!r}" in error.what:
                raise
            raise DataError(f"cannot read key {key!r}: {error}", path=self.path) from error


def read_array(rxfilename: str | os.PathLike) -> np.ndarray:
    """Read one vector or matrix that has no key, such as ``mean.vec``, or one of an archive: ``a.ark:17[0:9,2:3]``.

    Args:
        rxfilename: and its range, if any; a :class:`os.PathLike` is a path whatever it looks like.

    Raises:
        DataError: it cannot be read, is damaged, or its range does not fit.
    """
    return _read_one(rxfilename, "", decode_array)


def _read_one(entry: str | os.PathLike, key: str, decode: Callable[[ByteSource, str, str], Any]) -> Any:
    rxfilename, ranges = (entry, ()) if isinstance(entry, os.PathLike) else split_range(entry)
    with open_rxfilename(rxfilename) as file:
        value = decode(ByteSource(file), os.fspath(rxfilename), key)
    return _take(value, ranges, rxfilename) if ranges else value


def _without_file(entries: dict[str, str]) -> dict[str, str]:
    """The entries whose files are not there, by key; pipes and stdin are not looked at."""
    there: dict[str, bool] = {}
    gone = {}
    for key, entry in entries.items():
        if entry.endswith("|") or entry == "-":
            continue
        if entry.endswith("]"):
            entry = entry.rpartition("[")[0].rstrip()
            if not entry or entry.endswith("|"):  # no range: told of when the key is asked for
                continue
        path, colon, offset = entry.rpartition(":")
        if not (colon and offset.isascii() and offset.isdigit()):
            path = entry
        if path not in there:
            there[path] = os.path.exists(path)
        if not there[path]:
            gone[key] = path
    return gone


def _take(array: np.ndarray, ranges: tuple[Range, ...], path: str) -> np.ndarray:
    if len(ranges) > np.ndim(array):
        raise DataError(f"a range of {len(ranges)} parts", path=path, found=f"shape {np.shape(array)}")
    slices = []
    for axis, (ends, size) in enumerate(zip(ranges, array.shape, strict=False)):
        if ends is None:
            slices.append(slice(None))
            continue
        first, last = ends
        allowed = size + _TOLERANCE if axis == 0 else size
        if not (first <= last < allowed and first < size):
            expected = f"FIRST:LAST within 0:{size - 1}"
            raise DataError("the range does not fit", path=path, found=f"{first}:{last}", expected=expected)
        if last >= size:
            log.warning("%s: the range %d:%d ends past the last row, %d", path, first, last, size - 1)
        slices.append(slice(first, last + 1))
    return array[tuple(slices)]
