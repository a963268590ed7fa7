"""Kaldi's extended file names, opened: a path, ``path:offset``, ``-``, ``command |`` to read, ``| command`` to write.

What Kaldi only warns of is an error here: a command that fails, on either side. A file that is written appears
under its name when it is whole, by rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from svtk.errors import DataError
from svtk.kaldi.bytesource import ByteSource
from svtk.kaldi.specifiers import Wxfilename, parse_rxfilename, parse_wxfilename
from svtk.provenance import forget

__all__ = [
    "ByteSource",
    "Output",
    "PartFile",
    "names_file",
    "open_output",
    "open_rxfilename",
    "open_wxfilename",
    "pipes_refused",
    "refuse_pipes",
]

_NO_PIPES = "SVTK_NO_PIPES"  # an environment variable, so that worker processes inherit the policy
_GRACE = 2.0  # seconds a pipe's command gets to end once its output did not make sense
_UNREAD = 1 << 20  # bytes a pipe's command may still write after its reader is done; more, and it is stopped
_BY_HAND = "run it by hand to see why"


def refuse_pipes() -> None:
    """From here on, in this process and those it starts, an input pipe is an error, and so is an output pipe that a
    script file names: nothing in data is run."""
    os.environ[_NO_PIPES] = "1"


def pipes_refused() -> bool:
    """True after :func:`refuse_pipes`, here or in a parent process."""
    return os.environ.get(_NO_PIPES, "") not in ("", "0")


@contextlib.contextmanager
def open_rxfilename(rxfilename: str | os.PathLike, *, of: str | None = None) -> Iterator[BinaryIO]:
    """Open an rxfilename for binary reading: a path, ``path:offset``, ``command |``, and ``-`` or nothing for stdin.

    A command's exit status is checked when the block ends, and takes precedence over a
    :class:`DataError` raised in it: that was the symptom. A block that is left while the command still has
    much to say (more than a mebibyte) has chosen to stop; so has one left by another exception or a closed
    generator. The command is then stopped and its status means nothing.

    Args:
        rxfilename: what to open; a :class:`os.PathLike` is a path whatever it looks like.
        of: whose it is, for messages: ``utterance 'u1'``.

    Raises:
        DataError: not an rxfilename, the file cannot be opened, or the command fails or is refused
            (:func:`refuse_pipes`).
    """
    if isinstance(rxfilename, os.PathLike):
        kind, name, offset = "file", os.fspath(rxfilename), 0
    else:
        parsed = parse_rxfilename(rxfilename)
        kind, name, offset = parsed.kind, parsed.name, parsed.offset
    if kind == "stdin":
        if sys.stdin is None:
            raise DataError("stdin is closed", mend="give a file's name in place of '-'")
        yield sys.stdin.buffer
    elif kind == "pipe":
        with _input_pipe(name, of) as file:
            yield file
    else:
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(name, "rb"))
                if offset:
                    file.seek(offset)
            except OSError as error:
                what = "cannot open" if of is None else f"cannot open the file of {of}"
                raise DataError(f"{what}: {error.strerror or error}", path=name) from error
            yield file


@contextlib.contextmanager
def _input_pipe(command: str, of: str | None) -> Iterator[BinaryIO]:
    owner = "" if of is None else f" of {of}"
    if pipes_refused():
        mend = f"write its output to a file first or, if you trust it, allow pipes (no --no-pipes, no {_NO_PIPES})"
        raise DataError(f"input pipes are refused{owner and ', as that' + owner}", found=repr(command), mend=mend)
    process = _start(command, stdout=subprocess.PIPE)
    status = 0
    try:
        yield process.stdout
        if _ends(process.stdout):
            status = process.wait()
    except DataError as error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_GRACE)
        if status == 0:
            raise
        raise _failed(f"input pipe{owner}", command, status) from error
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait()
    if status != 0:
        raise _failed(f"input pipe{owner}", command, status)


def _start(command: str, **pipes: int) -> subprocess.Popen:
    try:
        return subprocess.Popen(command, shell=True, **pipes)
    except OSError as error:
        raise DataError(f"cannot start a pipe: {error.strerror}", found=repr(command[:200])) from error


def _ends(file: BinaryIO) -> bool:
    """Read what a command has still to say (one that cannot write its end would fail); False when it is too much."""
    left = _UNREAD
    while left > 0 and (data := file.read(1 << 16)):
        left -= len(data)
    return left > 0


def _failed(what: str, command: str, status: int) -> DataError:
    how = f"failed with exit status {status}" if status > 0 else f"was killed by signal {-status}"
    return DataError(f"{what} {how}", found=repr(command), mend=_BY_HAND)


class Output:
    """Where bytes go: write to it, then :meth:`commit` when all is well or :meth:`abandon` it.

    This one is for a device such as /dev/null or a FIFO, which no rename may replace, and for stdout.

    Args:
        file: open for binary writing.
        name: for messages.
    """

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name = file, name

    def write(self, data: bytes) -> None:
        """Append *data*.

        Raises:
            DataError: it cannot be written.
            BrokenPipeError: the reader of our stdout has gone, which ends the program quietly.
        """
        try:
            self.file.write(data)
        except OSError as error:
            raise self._trouble(error) from error

    def flush(self) -> None:
        """Send what was written on its way; raises as :meth:`write`."""
        try:
            self.file.flush()
        except OSError as error:
            raise self._trouble(error) from error

    def commit(self) -> None:
        """All is written; raises as :meth:`write`."""
        self.flush()
        self._close()

    def abandon(self) -> None:
        """Something failed: nothing is to appear under a final name."""
        with contextlib.suppress(OSError):
            self._close()

    def _close(self) -> None:
        if self.name != "-":
            self.file.close()

    def _trouble(self, error: OSError) -> Exception:
        if self.name == "-" and isinstance(error, BrokenPipeError):
            return error
        name = "stdout" if self.name == "-" else self.name
        return DataError(f"cannot write: {error.strerror or error}", path=name)


class _OutputPipe(Output):
    def __init__(self, command: str):
        self._process = _start(command, stdin=subprocess.PIPE)
        super().__init__(self._process.stdin, command)

    def commit(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # its exit status says more
            self.file.close()
        if (status := self._process.wait()) != 0:
            raise _failed("output pipe", self.name, status)

    def abandon(self) -> None:
        self._process.kill()  # before its input ends, lest it takes what it got for the whole
        with contextlib.suppress(OSError):
            self.file.close()
        self._process.wait()

    def _trouble(self, error: OSError) -> Exception:
        if not isinstance(error, BrokenPipeError):
            return super()._trouble(error)
        if (status := self._process.wait()) != 0:
            return _failed("output pipe", self.name, status)
        return DataError("output pipe ended before all was written", found=repr(self.name), mend=_BY_HAND)


class PartFile(Output):
    """A file that grows as ``FILE.part`` and takes its name when it is committed; the record of an earlier file of this
    name (:mod:`svtk.provenance`) goes then.

    Args:
        path: the final name; its directory is made.
        offset: what an earlier run left in ``FILE.part`` is kept up to here.
        keep: abandoned, ``FILE.part`` stays.

    Raises:
        DataError: it cannot be opened, or another process is writing it.
    """

    def __init__(self, path: str | os.PathLike, *, offset: int = 0, keep: bool = False):
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self._keep = keep
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self._locked()
            file.truncate(offset)
            file.seek(offset)
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror or error}", path=path) from error
        super().__init__(file, str(path))

    def _locked(self) -> BinaryIO:
        """``FILE.part`` opened, and this process alone at it.

        Raises:
            DataError: another process writes it.
        """
        while True:
            file = os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.part)):
                    return file
            except FileNotFoundError:
                pass
            except BlockingIOError:
                file.close()
                mend = "wait for its end, or write to another name"
                raise DataError("another process is writing this file", path=self.path, mend=mend) from None
            except OSError:  # a file system without locks
                return file
            file.close()  # it took its final name, or went, before it was locked

    def close(self) -> None:
        """All is written, but not yet under its name."""
        self.flush()
        try:
            with self.file:
                os.fsync(self.file.fileno())
        except OSError as error:
            raise self._trouble(error) from error

    def commit(self) -> None:
        if not self.file.closed:
            self.close()
        try:
            forget(self.path)
            os.replace(self.part, self.path)
        except OSError as error:
            raise self._trouble(error) from error

    def abandon(self) -> None:
        super().abandon()
        if not self._keep:
            with contextlib.suppress(OSError):
                self.part.unlink()


def open_output(wxfilename: str | os.PathLike) -> Output:
    """An :class:`Output` for a wxfilename: a path, ``| command``, and ``-`` or nothing for stdout.

    Args:
        wxfilename: what to open; a :class:`os.PathLike` is a path whatever it looks like.

    Raises:
        DataError: not a wxfilename, or it cannot be opened.
    """
    parsed = _parse_output(wxfilename)
    if parsed.kind == "pipe":
        return _OutputPipe(parsed.name)
    if parsed.kind == "stdout":
        if sys.stdout is None:
            raise DataError("stdout is closed", mend="give a file's name in place of '-'")
        return Output(sys.stdout.buffer, "-")
    if names_file(wxfilename):
        return PartFile(parsed.name)
    try:
        return Output(open(parsed.name, "wb"), parsed.name)  # noqa: SIM115
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror or error}", path=parsed.name) from error


def names_file(wxfilename: str | os.PathLike) -> bool:
    """True where a wxfilename names a regular file, or nothing yet: what a rename may put in place.

    Raises:
        DataError: not a wxfilename.
    """
    parsed = _parse_output(wxfilename)
    return parsed.kind == "file" and (os.path.isfile(parsed.name) or not os.path.exists(parsed.name))


def _parse_output(wxfilename: str | os.PathLike) -> Wxfilename:
    if isinstance(wxfilename, os.PathLike):
        return Wxfilename("file", os.fspath(wxfilename))
    return parse_wxfilename(wxfilename)


@contextlib.contextmanager
def open_wxfilename(wxfilename: str | os.PathLike) -> Iterator[Output]:
    """Open a wxfilename for binary writing; what is written counts only when the block ends well.

    A file then appears under its name; a command then gets the end of its input, and its exit status is
    checked. After an exception the file does not appear, and the command is killed.

    Raises:
        DataError: as :func:`open_output` and :meth:`Output.commit`.
    """
    output = open_output(wxfilename)
    try:
        yield output
    except BaseException:
        output.abandon()
        raise
    output.commit()
