"""Write Kaldi tables: archives with or without a script file, or one file per key; whole or absent, resumable."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.encoding import encode
from svtk.kaldi.entries import is_key, read_key, skip_array
from svtk.kaldi.scripts import read_script
from svtk.kaldi.specifiers import Wspecifier, parse_wspecifier, parse_wxfilename
from svtk.kaldi.streams import ByteSource, Output, PartFile, names_file, open_output, pipes_refused

__all__ = ["TableWriter"]

log = logging.getLogger(__name__)


class TableWriter:
    """Write a table; use as a context manager, ``writer.write(key, array)`` per entry.

    The archive grows as ``FILE.part`` and takes its final name when the ``with`` block ends well; the script
    file follows. With ``resume``, what an earlier run that did not end left in ``FILE.part`` is kept:
    :attr:`done` holds its keys (skip them) and :meth:`write` goes on after them; the *fingerprint* (any
    JSON-able value naming what is written: model, options) must be that of the earlier run, else it starts
    afresh.

    Args:
        wspecifier: ``ark:f``, ``ark,t:-``, ``ark,scp:a.ark,a.scp``, ``ark:| cmd`` ...; ``scp:f`` writes each key
            to the file that the existing script *f* names for it, all of them whole when the block ends.
        compression: key of :data:`svtk.kaldi.encoding.COMPRESSION`; applies to matrices in binary archives.
        resume: take up an unfinished archive (binary archives of vectors and matrices on disk only).
        fingerprint: names what is being written, for ``resume``.

    Raises:
        DataError: malformed wspecifier, or the file cannot be written or is being written by another process.
    """

    def __init__(self, wspecifier: str, *, compression: str = "none", resume: bool = False, fingerprint: Any = None):
        self.spec = parse_wspecifier(wspecifier)
        self.done: dict[str, int] = {}  # key → offset of its array in the archive
        self._compression = compression
        if self.spec.ark is None:
            self._into = _PerKey(self.spec)
        else:
            note = {"fingerprint": fingerprint, "compression": compression}
            self._into = _Archive(self.spec, self.done, note if resume and not self.spec.text else None)

    def write(self, key: str, array: np.ndarray | float) -> None:
        """Append one entry: a vector (D,), a matrix (T, D) or a number; types as in :func:`.encoding.encode`.

        Raises:
            DataError: the key has white space or was written before, the disk is full or the pipe broke, or
                what *encode* raises.
            BrokenPipeError: the reader of our stdout has gone, which ends the program quietly.
        """
        if not is_key(key):
            raise DataError("not a Kaldi key", found=repr(key), expected="a word without white space")
        if key in self.done:
            raise DataError(f"key {key!r} was written before", path=self.spec.ark or self.spec.scp)
        self.done[key] = self._into.write(key, encode(key, array, text=self.spec.text, compression=self._compression))

    def sort(self, keys: Iterable[str]) -> None:
        """Let the script file name its entries in the order of *keys*, which are all that were written."""
        for key in keys:
            self.done[key] = self.done.pop(key)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self._into.abandon()
            return
        try:
            self._into.commit()
        except BaseException:
            self._into.abandon()
            raise


class _Archive:
    """An archive, and the script file to it."""

    def __init__(self, spec: Wspecifier, done: dict[str, int], note: dict[str, Any] | None):
        self._spec, self._done = spec, done
        self._offset = 0
        self._note: Path | None = None
        self._script: Output | None = None
        on_disk = names_file(spec.ark)
        if spec.scp is not None and not on_disk:
            found, expected = repr(spec.ark), "ark,scp:FILE.ark,FILE.scp"
            raise DataError("an scp file needs an archive on disk", found=found, expected=expected)
        if note is not None and on_disk:
            self._archive = self._take_up(Path(spec.ark), json.dumps(note, sort_keys=True))
        else:
            self._archive = open_output(spec.ark)
            if isinstance(self._archive, PartFile):
                _note_of(self._archive).unlink(missing_ok=True)  # this run's entries are nobody's to take up
        if spec.scp is not None:
            try:
                self._script = open_output(spec.scp)
            except BaseException:
                self._archive.abandon()
                raise

    def _take_up(self, ark: Path, note: str) -> PartFile:
        part = ark.with_name(ark.name + ".part")
        self._note = ark.with_name(ark.name + ".part.json")
        try:
            if part.exists() and self._note.exists() and self._note.read_text(encoding="utf-8") == note:
                self._offset = self._whole_entries(part)
                return PartFile(ark, offset=self._offset, keep=True)
            archive = PartFile(ark, keep=True)  # first: it is refused, and empties what an earlier run left
            self._note.write_text(note, encoding="utf-8")
            return archive
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot write: {error}", path=ark) from error

    def _whole_entries(self, part: Path) -> int:
        """Find the whole entries of an unfinished archive by their headers; return the offset at which they end."""
        end = 0
        with open(part, "rb") as file:
            source = ByteSource(file)
            try:
                while (key := read_key(source, str(part))) is not None:
                    start = source.offset
                    skip_array(source, str(part), key)
                    self._done[key] = start
                    end = source.offset
            except DataError:  # the entry that was being written
                pass
        return end

    def write(self, key: str, data: bytes) -> int:
        head = key.encode() + b" "
        self._archive.write(head)
        self._archive.write(data)
        if self._spec.flush:
            self._archive.flush()
        start = self._offset + len(head)
        self._offset = start + len(data)
        return start

    def commit(self) -> None:
        if self._script is None:
            self._archive.commit()
        else:
            lines = "".join(f"{key} {self._spec.ark}:{offset}\n" for key, offset in self._done.items()).encode()
            if isinstance(self._script, PartFile):
                self._archive.flush()
                self._script.write(lines)
                self._script.close()
                self._script.path.unlink(missing_ok=True)  # it would point into the archive that is about to go
                self._archive.commit()
            else:  # who reads the lines may want the archive at once
                self._archive.commit()
                self._script.write(lines)
            self._script.commit()
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def abandon(self) -> None:
        if self._script is not None:
            self._script.abandon()
        self._archive.abandon()


def _note_of(archive: PartFile) -> Path:
    return archive.part.with_name(archive.part.name + ".json")


class _PerKey:
    """One file per key, as an existing script file says; all take their names when the table is whole.

    A key's command (``| cmd``) gets its array, and is waited for, at once.
    """

    def __init__(self, spec: Wspecifier):
        self._spec = spec
        self._targets = read_script(spec.scp)
        self._files: list[PartFile] = []
        seen: dict[str, str] = {}
        for key, name in self._targets.items():
            kind = parse_wxfilename(name).kind
            if kind == "pipe" and pipes_refused():
                mend = "write to an archive, or allow pipes if you trust this file (no --no-pipes, no SVTK_NO_PIPES)"
                raise DataError(
                    f"output pipes are refused, as that of key {key!r}", path=spec.scp, found=name, mend=mend
                )
            if kind == "file" and seen.setdefault(name, key) != key:
                what = f"keys {seen[name]!r} and {key!r} would be written to the same file"
                raise DataError(what, path=spec.scp, found=name, mend="give each key a file of its own")

    def write(self, key: str, data: bytes) -> int:
        if key not in self._targets:
            if not self._spec.permissive:
                mend = "add it to the script file, or leave such keys out with scp,p:"
                raise DataError(f"the script file names no file for key {key!r}", path=self._spec.scp, mend=mend)
            log.warning("%s names no file for key %r: left out", self._spec.scp, key)
            return 0
        output = open_output(self._targets[key])
        try:
            output.write(data)
            if isinstance(output, PartFile):
                output.close()
                self._files.append(output)
            else:
                output.commit()
        except BaseException:
            output.abandon()
            raise
        return 0

    def commit(self) -> None:
        for file in self._files:
            file.commit()

    def abandon(self) -> None:
        for file in self._files:
            file.abandon()
