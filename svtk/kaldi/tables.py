"""Read and write Kaldi tables of float vectors and matrices; kaldiio moves the bytes.

What is added to kaldiio: a failing pipe is an error, duplicate keys are refused, entries that would
run code (``PKL``) are refused, a damaged archive is named by file, key and offset, and an archive or
script file appears under its final name only when it is whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import kaldiio
import numpy as np
from kaldiio.matio import read_kaldi, read_token

from svtk.errors import DataError
from svtk.kaldi.specifiers import parse_rspecifier, parse_wspecifier

__all__ = ["COMPRESSION", "ScpReader", "TableWriter", "open_rxfilename", "read_table", "read_vectors"]

#: kaldiio numbers of Kaldi's matrix compressions; "auto" is ``--compress=true`` in Kaldi (one byte, speech).
COMPRESSION = {"none": 0, "auto": 2, "two-byte": 3}


@contextlib.contextmanager
def open_rxfilename(rxfilename: str) -> Iterator[BinaryIO]:
    """Open a Kaldi rxfilename for binary reading: a path, ``-`` (stdin) or ``command |``.

    Raises:
        DataError: the file is missing, or the command fails (its exit status is checked on closing).
    """
    if rxfilename == "-":
        yield sys.stdin.buffer
        return
    if rxfilename.endswith("|"):
        command = rxfilename[:-1].strip()
        process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.stdout.read()
        process.stdout.close()
        status = process.wait()
        if status != 0:
            raise DataError(f"input pipe failed with exit status {status}", found=repr(command), mend="run it by hand")
        return
    try:
        file = open(rxfilename, "rb")
    except OSError as error:
        raise DataError(f"cannot open: {error.strerror}", path=rxfilename) from error
    with file:
        yield file


def _read_entry(file: BinaryIO, path: str, key: str) -> np.ndarray:
    place = f"{file.tell()}" if file.seekable() else "unknown"
    if file.seekable():
        head = file.read(3)
        file.seek(-len(head), os.SEEK_CUR)
        if head == b"PKL":
            raise DataError(f"entry {key!r} is a pickle, which could run code", path=path, mend="write it as a matrix")
    try:
        array = read_kaldi(file)
    except Exception as error:
        raise DataError(
            f"damaged archive at key {key!r}, offset {place}: {error or type(error).__name__}",
            path=path,
            mend="write the archive again",
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype == object:
        raise DataError(f"entry {key!r} is not a vector or matrix", path=path, found=type(array).__name__)
    return array


def read_table(rspecifier: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(key, array)`` from a table in its order; arrays are (D,) vectors or (T, D) matrices.

    Raises:
        DataError: malformed specifier, missing file, damaged entry or duplicate key. With the option
            ``p`` (permissive) entries that cannot be read are left out instead.
    """
    spec = parse_rspecifier(rspecifier)
    seen: set[str] = set()

    def check(key: str) -> None:
        if key in seen:
            raise DataError(f"key {key!r} stands twice", path=spec.rxfilename, mend="keep one of the two entries")
        seen.add(key)

    if spec.kind == "scp":
        reader = ScpReader(spec.rxfilename)
        for key in reader:
            try:
                yield key, reader[key]
            except DataError:
                if not spec.permissive:
                    raise
        return
    with open_rxfilename(spec.rxfilename) as raw:
        file = raw if raw.seekable() else _Buffered(raw)
        while True:
            key = _next_key(file, spec.rxfilename)
            if key is None:
                return
            check(key)
            try:
                array = _read_entry(file, spec.rxfilename, key)
            except DataError:
                if spec.permissive:
                    return
                raise
            yield key, array


class _Buffered(io.BufferedReader):
    """A pipe that kaldiio may look ahead in: it says it is not seekable, and peeks for the type."""

    def __init__(self, raw: BinaryIO):
        super().__init__(_Raw(raw))


class _Raw(io.RawIOBase):
    def __init__(self, raw: BinaryIO):
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _next_key(file: BinaryIO, path: str) -> str | None:
    try:
        key = read_token(file)
    except UnicodeDecodeError as error:
        raise DataError("damaged archive: a key is not UTF-8", path=path, mend="write the archive again") from error
    if key is None:
        return None
    key = key.strip("\n")
    if not key or any(c.isspace() for c in key):
        raise DataError("damaged archive: not a key", path=path, found=repr(key[:40]), mend="write the archive again")
    return key


class ScpReader:
    """Random access to the entries of a script file (``key file.ark:offset`` lines).

    A mapping from key to array, in the file's order; nothing is loaded before it is asked for.

    Raises:
        DataError: missing file, malformed line or duplicate key (with the line), damaged entry.
    """

    def __init__(self, path: str):
        self.path = path
        self._entries: dict[str, str] = {}
        with open_rxfilename(path) as file:
            for number, raw in enumerate(file, 1):
                fields = raw.decode("utf-8", "replace").strip().split(None, 1)
                if len(fields) != 2:
                    raise DataError(
                        "malformed script line",
                        path=path,
                        line=number,
                        found=repr(" ".join(fields)),
                        expected="'KEY FILE:OFFSET'",
                    )
                if fields[0] in self._entries:
                    raise DataError(
                        f"key {fields[0]!r} stands twice", path=path, line=number, mend="keep one of the two"
                    )
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
        entry = self._entries[key]
        archive, slices = (entry[:-1].rsplit("[", 1) + [None])[:2] if entry.endswith("]") else (entry, None)
        try:
            if slices is None and not archive.endswith("|"):
                path, _, offset = (
                    archive.rpartition(":") if archive.rpartition(":")[2].isdigit() else (archive, "", "0")
                )
                with open(path, "rb") as file:
                    file.seek(int(offset))
                    return _read_entry(file, path, key)
            return kaldiio.load_mat(entry)
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"cannot read key {key!r}: {error.strerror or error}", path=archive) from error
        except Exception as error:
            raise DataError(f"cannot read key {key!r}: {error}", path=self.path) from error


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
            raise DataError(
                f"entry {key!r} does not fit",
                path=rspecifier,
                found=f"shape {array.shape}",
                expected=f"a vector{' of ' + str(rows[0].shape[0]) if rows else ''}",
            )
        keys.append(key)
        rows.append(np.asarray(array, dtype=np.float32))
    if not rows:
        raise DataError("the table is empty", path=rspecifier)
    return keys, np.stack(rows)


class TableWriter:
    """Write a table; use as a context manager, ``writer.write(key, array)`` per entry.

    The archive grows as ``FILE.part`` and takes its final name when the ``with`` block ends well. With
    ``resume``, what an earlier, killed run left in ``FILE.part`` is kept: :attr:`done` holds its keys and
    :meth:`write` goes on after them; the *fingerprint* (any JSON-able value naming what is written: model,
    options) must be that of the earlier run, else it starts afresh.

    Args:
        wspecifier: ``ark:f``, ``ark,t:-``, ``ark,scp:a.ark,a.scp``, ``ark:| cmd`` ...
        compression: key of :data:`COMPRESSION`; applies to matrices in binary archives.
        resume: take up an unfinished archive (files only).
        fingerprint: names what is being written, for ``resume``.
    """

    def __init__(self, wspecifier: str, *, compression: str = "none", resume: bool = False, fingerprint: Any = None):
        self.spec = parse_wspecifier(wspecifier)
        self.done: dict[str, int] = {}
        self._method = COMPRESSION[compression]
        self._process = None
        self._part: Path | None = None
        ark = self.spec.ark
        if ark == "-":
            self._file: BinaryIO = sys.stdout.buffer
        elif ark.startswith("|"):
            self._process = subprocess.Popen(ark[1:].strip(), shell=True, stdin=subprocess.PIPE)
            self._file = self._process.stdin
        else:
            self._open_part(Path(ark), resume, fingerprint)
        if self.spec.scp is not None and self._part is None:
            raise DataError(
                "an scp file needs an archive on disk", found=repr(wspecifier), expected="ark,scp:FILE.ark,FILE.scp"
            )
        self._offset = self._file.tell() if self._part is not None else 0

    def _open_part(self, ark: Path, resume: bool, fingerprint: Any) -> None:
        self._part = ark.with_name(ark.name + ".part")
        self._note = ark.with_name(ark.name + ".part.json")
        try:
            ark.parent.mkdir(parents=True, exist_ok=True)
            note = json.dumps(fingerprint, sort_keys=True)
            if (
                resume
                and not self.spec.text
                and self._note.exists()
                and self._part.exists()
                and self._note.read_text() == note
            ):
                end = self._scan_part()
                self._file = open(self._part, "r+b")
                self._file.truncate(end)
                self._file.seek(end)
            else:
                self._note.write_text(note)
                self._file = open(self._part, "wb")
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", path=ark) from error

    def _scan_part(self) -> int:
        """Read the whole entries of an unfinished archive; return the offset at which they end."""
        end = 0
        with open(self._part, "rb") as file:
            with contextlib.suppress(DataError):
                while (key := _next_key(file, str(self._part))) is not None:
                    start = file.tell()
                    _read_entry(file, str(self._part), key)
                    self.done[key] = start
                    end = file.tell()
        return end

    def write(self, key: str, array: np.ndarray) -> None:
        """Append one entry: a vector (D,) or a matrix (T, D), float32 or float64.

        Raises:
            DataError: the key has white space or was written before, or the disk is full.
        """
        if key in self.done or not key or any(c.isspace() for c in key):
            raise DataError(
                f"key {key!r} {'was written before' if key in self.done else 'is not a Kaldi key'}", path=self.spec.ark
            )
        array = np.asarray(array)
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float32)
        buffer = io.BytesIO()
        method = self._method if array.ndim == 2 and not self.spec.text else None
        kaldiio.save_ark(buffer, {key: array}, text=self.spec.text, compression_method=method or None)
        data = buffer.getvalue()
        try:
            self._file.write(data)
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", path=self.spec.ark) from error
        self.done[key] = self._offset + len(key.encode()) + 1
        self._offset += len(data)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._process is not None:
            self._file.close()
            status = self._process.wait()
            if kind is None and status != 0:
                raise DataError(f"output pipe failed with exit status {status}", found=repr(self.spec.ark))
        elif self._part is None:
            self._file.flush()
        else:
            self._finish(kind is None)

    def _finish(self, well: bool) -> None:
        ark = Path(self.spec.ark)
        try:
            self._file.flush()
            if well:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", path=ark) from error
        finally:
            self._file.close()
        if not well:
            return
        if self.spec.scp is not None:
            scp = Path(self.spec.scp)
            scp.parent.mkdir(parents=True, exist_ok=True)
            part = scp.with_name(scp.name + ".part")
            part.write_text("".join(f"{key} {ark}:{offset}\n" for key, offset in self.done.items()), encoding="utf-8")
            os.replace(self._part, ark)
            os.replace(part, scp)
        else:
            os.replace(self._part, ark)
        self._note.unlink(missing_ok=True)
