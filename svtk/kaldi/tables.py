"""Read and write Kaldi tables of float vectors and matrices.

A failing pipe is an error, duplicate keys are refused, a damaged archive is named by file, key and offset,
and an archive or script file appears under its final name only when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.entries import COMPRESSION, decode_array, encode_entry, read_key
from svtk.kaldi.specifiers import parse_rspecifier, parse_wspecifier
from svtk.kaldi.streams import ByteSource, open_rxfilename

__all__ = ["COMPRESSION", "ScpReader", "TableWriter", "open_rxfilename", "read_table", "read_vectors"]


def read_table(rspecifier: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(key, array)`` from a table in its order; arrays are (D,) vectors or (T, D) matrices.

    Raises:
        DataError: malformed specifier, missing file, failing pipe, damaged entry or duplicate key. With the
            option ``p`` (permissive) unreadable entries of a script file, or everything after the damage in
            an archive, are left out with a warning instead.
    """
    spec = parse_rspecifier(rspecifier)
    if spec.kind == "scp":
        reader = ScpReader(spec.rxfilename)
        for key in reader:
            try:
                array = reader[key]
            except DataError as error:
                if not spec.permissive:
                    raise
                logging.warning("left out: %s", error)
                continue
            yield key, array
        return
    try:
        with open_rxfilename(spec.rxfilename) as file:
            yield from _read_archive(file, spec.rxfilename)
    except DataError as error:
        if not spec.permissive:
            raise
        logging.warning("the rest is left out: %s", error)


def _read_archive(file: BinaryIO, path: str) -> Iterator[tuple[str, np.ndarray]]:
    source = ByteSource(file, file.tell() if file.seekable() else 0)
    seen: set[str] = set()
    while (key := read_key(source, path)) is not None:
        if key in seen:
            raise DataError(f"key {key!r} stands twice", path=path, mend="keep one of the two entries")
        seen.add(key)
        yield key, decode_array(source, path, key)


class ScpReader:
    """Random access to the entries of a script file (``key file.ark:offset`` lines, with ``[a:b,c:d]`` ranges).

    A mapping from key to array, in the file's order; nothing is loaded before it is asked for, and no file
    stays open, so that it may be shared with forked workers.

    Raises:
        DataError: missing file, malformed line or duplicate key (with the line), damaged entry.
    """

    def __init__(self, path: str):
        self.path = path
        self._entries: dict[str, str] = {}
        with open_rxfilename(path) as file:
            for number, raw in enumerate(file, 1):
                try:
                    fields = raw.decode("utf-8").strip().split(None, 1)
                except UnicodeDecodeError as error:
                    raise DataError(
                        "not UTF-8 text", path=path, line=number, mend="is it an archive (ark:)?"
                    ) from error
                if len(fields) != 2:
                    found = repr(" ".join(fields))
                    raise DataError(
                        "malformed script line", path=path, line=number, found=found, expected="'KEY FILE:OFFSET'"
                    )
                if fields[0] in self._entries:
                    what = f"key {fields[0]!r} stands twice"
                    raise DataError(what, path=path, line=number, mend="keep one of the two")
                self._entries[fields[0]] = fields[1]

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
        rxfilename, ranges = _split_range(self._entries[key])
        try:
            with open_rxfilename(rxfilename) as file:
                source = ByteSource(file, file.tell() if file.seekable() else 0)
                array = decode_array(source, rxfilename, key)
        except DataError as error:
            if error.path is not None and key in error.what:
                raise
            raise DataError(f"cannot read key {key!r}: {error}", path=self.path) from error
        return array if ranges is None else _take(array, ranges, key, self.path)


def _split_range(entry: str) -> tuple[str, list[tuple[int, int] | None] | None]:
    """``f.ark:5[0:9,2:3]`` → ``f.ark:5`` and its ranges (first and last index; None = all)."""
    match = re.fullmatch(r"(.+)\[((?:\d+:\d+|:)?(?:,(?:\d+:\d+|:)?)?)\]", entry, re.DOTALL)
    if match is None:
        return entry, None
    ends = [re.fullmatch(r"(\d+):(\d+)", part) for part in match[2].split(",")]
    return match[1].rstrip(), [None if m is None else (int(m[1]), int(m[2])) for m in ends]


def _take(array: np.ndarray, ranges: list[tuple[int, int] | None], key: str, path: str) -> np.ndarray:
    if len(ranges) > array.ndim:
        raise DataError(f"the range of key {key!r} has {len(ranges)} parts", path=path, found=f"shape {array.shape}")
    slices = []
    for ends, size in zip(ranges, array.shape, strict=False):
        if ends is not None and not ends[0] <= ends[1] < size:
            what = f"the range of key {key!r} does not fit"
            found = f"{ends[0]}:{ends[1]}"
            raise DataError(what, path=path, found=found, expected=f"FIRST:LAST within 0:{size - 1}")
        slices.append(slice(None) if ends is None else slice(ends[0], ends[1] + 1))
    return array[tuple(slices)]


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


class TableWriter:
    """Write a table; use as a context manager, ``writer.write(key, array)`` per entry.

    The archive grows as ``FILE.part`` and takes its final name when the ``with`` block ends well; the script
    file follows. With ``resume``, what an earlier run that did not end left in ``FILE.part`` is kept:
    :attr:`done` holds its keys (skip them) and :meth:`write` goes on after them; the *fingerprint* (any
    JSON-able value naming what is written: model, options) must be that of the earlier run, else it starts
    afresh.

    Args:
        wspecifier: ``ark:f``, ``ark,t:-``, ``ark,scp:a.ark,a.scp``, ``ark:| cmd`` ...
        compression: key of :data:`COMPRESSION`; applies to matrices in binary archives.
        resume: take up an unfinished archive (binary files only).
        fingerprint: names what is being written, for ``resume``.

    Raises:
        DataError: malformed wspecifier, or the file cannot be written.
    """

    def __init__(self, wspecifier: str, *, compression: str = "none", resume: bool = False, fingerprint: Any = None):
        self.spec = parse_wspecifier(wspecifier)
        self.done: dict[str, int] = {}
        self._compression = compression
        self._process: subprocess.Popen | None = None
        self._part: Path | None = None
        self._offset = 0
        self._resume = resume and not self.spec.text
        ark = self.spec.ark
        is_file = ark != "-" and not ark.startswith("|") and (Path(ark).is_file() or not Path(ark).exists())
        if self.spec.scp is not None and not is_file:
            expected = "ark,scp:FILE.ark,FILE.scp"
            raise DataError("an scp file needs an archive on disk", found=repr(wspecifier), expected=expected)
        if ark == "-":
            self._file: BinaryIO = sys.stdout.buffer
        elif ark.startswith("|"):
            self._process = subprocess.Popen(ark[1:].strip(), shell=True, stdin=subprocess.PIPE)
            self._file = self._process.stdin
        else:
            try:
                if is_file:
                    self._open_part(Path(ark), {"fingerprint": fingerprint, "compression": compression})
                else:  # a device such as /dev/null, which no rename may replace
                    self._file = open(ark, "wb")  # noqa: SIM115
            except OSError as error:
                raise DataError(f"cannot write: {error.strerror}", path=ark) from error

    def _open_part(self, ark: Path, note: dict[str, Any]) -> None:
        self._part = ark.with_name(ark.name + ".part")
        self._note = ark.with_name(ark.name + ".part.json")
        text = json.dumps(note, sort_keys=True)
        ark.parent.mkdir(parents=True, exist_ok=True)
        if self._resume and self._part.exists() and self._note.exists() and self._note.read_text() == text:
            self._offset = self._scan_part()
            self._file = open(self._part, "r+b")  # noqa: SIM115
            self._file.truncate(self._offset)
            self._file.seek(self._offset)
            return
        self._note.unlink(missing_ok=True)
        self._file = open(self._part, "wb")  # noqa: SIM115
        if self._resume:
            self._note.write_text(text)  # only now: the note never stands beside entries of another run

    def _scan_part(self) -> int:
        """Read the whole entries of an unfinished archive; return the offset at which they end."""
        end = 0
        with open(self._part, "rb") as file, contextlib.suppress(DataError):
            source = ByteSource(file)
            while (key := read_key(source, str(self._part))) is not None:
                start = source.offset
                decode_array(source, str(self._part), key)
                self.done[key] = start
                end = source.offset
        return end

    def write(self, key: str, array: np.ndarray | int) -> None:
        """Append one entry: a vector (D,) or a matrix (T, D), float32 or float64, or an int.

        Raises:
            DataError: the key has white space or was written before, the disk is full or the pipe broke.
        """
        if key in self.done:
            raise DataError(f"key {key!r} was written before", path=self.spec.ark)
        data = encode_entry(key, array, text=self.spec.text, compression=self._compression)
        try:
            self._file.write(data)
        except BrokenPipeError as error:
            if self._process is None:
                raise
            raise self._pipe_failed() from error
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", path=self.spec.ark) from error
        self.done[key] = self._offset + len(key.encode()) + 1
        self._offset += len(data)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._finish()
        else:
            self._abandon()

    def _pipe_failed(self) -> DataError:
        status = self._process.wait()
        return DataError(
            f"output pipe failed with exit status {status}", found=repr(self.spec.ark), mend="run it by hand"
        )

    def _abandon(self) -> None:
        """After an error in the block: nothing under a final name; ``FILE.part`` stays only to be resumed."""
        if self._process is not None:
            self._process.kill()  # before its input ends, lest it takes what it got for the whole
        if self._file is not sys.stdout.buffer:
            with contextlib.suppress(OSError):
                self._file.close()
        if self._process is not None:
            self._process.wait()
        if self._part is not None and not self._resume:
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):  # its exit status says more
                self._file.close()
            if self._process.wait() != 0:
                raise self._pipe_failed()
            return
        if self.spec.ark == "-":
            self._file.flush()
            return
        try:
            with self._file:
                self._file.flush()
                if self._part is not None:
                    os.fsync(self._file.fileno())
            if self._part is not None:
                self._rename()
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", path=error.filename or self.spec.ark) from error

    def _rename(self) -> None:
        ark = Path(self.spec.ark)
        if self.spec.scp is None:
            os.replace(self._part, ark)
        else:
            scp = Path(self.spec.scp)
            scp.parent.mkdir(parents=True, exist_ok=True)
            part = scp.with_name(scp.name + ".part")
            lines = (f"{key} {self.spec.ark}:{offset}\n" for key, offset in self.done.items())
            part.write_text("".join(lines), encoding="utf-8")
            scp.unlink(missing_ok=True)  # it would point into the archive that is about to go
            os.replace(self._part, ark)
            os.replace(part, scp)
        self._note.unlink(missing_ok=True)
