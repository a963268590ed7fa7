"""Kaldi's extended file names for input (rxfilenames): a path, ``path:offset``, ``-`` or ``command |``."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

from svtk.errors import DataError

__all__ = ["ByteSource", "open_rxfilename", "pipes_refused", "refuse_pipes"]

_NO_PIPES = "SVTK_NO_PIPES"  # an environment variable, so that worker processes inherit the policy
_GRACE = 2.0  # seconds a pipe's command gets to end once its output did not make sense


def refuse_pipes() -> None:
    """From here on, in this process and those it starts, an input pipe is an error: nothing in data is run."""
    os.environ[_NO_PIPES] = "1"


def pipes_refused() -> bool:
    """True after :func:`refuse_pipes`, here or in a parent process."""
    return os.environ.get(_NO_PIPES, "") not in ("", "0")


@contextlib.contextmanager
def open_rxfilename(rxfilename: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open an rxfilename for binary reading: a path, ``path:offset``, ``-`` (stdin) or ``command |``.

    A command's exit status is checked when the block ends, and takes precedence over a
    :class:`DataError` raised in it: that was the symptom.

    Raises:
        DataError: the file cannot be opened, or the command fails or is refused (:func:`refuse_pipes`).
    """
    rxfilename = os.fspath(rxfilename)
    if rxfilename == "-":
        yield sys.stdin.buffer
    elif rxfilename.rstrip().endswith("|"):
        with _pipe(rxfilename.rstrip()[:-1].strip()) as file:
            yield file
    else:
        match = re.fullmatch(r"(.+):(\d+)", rxfilename, re.DOTALL)
        path, offset = (match[1], int(match[2])) if match else (rxfilename, 0)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(path, "rb"))
                file.seek(offset)
            except OSError as error:
                raise DataError(f"cannot open: {error.strerror}", path=path) from error
            yield file


@contextlib.contextmanager
def _pipe(command: str) -> Iterator[BinaryIO]:
    if pipes_refused():
        mend = f"write its output to a file first or, if you trust it, allow pipes (no --no-pipes, no {_NO_PIPES})"
        raise DataError("input pipes are refused", found=repr(command), mend=mend)
    process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)
    status = 0
    try:
        yield process.stdout
        while process.stdout.read(1 << 16):  # a command that cannot write its end would fail
            pass
        status = process.wait()
    except DataError as error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_GRACE)
        if status == 0:
            raise
        raise _failed(command, status) from error
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait()
    if status != 0:
        raise _failed(command, status)


def _failed(command: str, status: int) -> DataError:
    return DataError(f"input pipe failed with exit status {status}", found=repr(command), mend="run it by hand")


class ByteSource:
    """Bytes of a file or pipe with look-ahead, exact reads and a count.

    Args:
        file: open for binary reading at *offset*.

    ``offset`` is the place of the next byte, in a pipe counted from where reading began.
    """

    def __init__(self, file: BinaryIO, offset: int = 0):
        self._file, self.offset, self._ahead = file, offset, b""

    def peek(self, size: int) -> bytes:
        """The next *size* bytes, fewer only at the end; they stay unread."""
        while len(self._ahead) < size and (more := self._file.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Exactly *size* bytes.

        Raises:
            EOFError: there are fewer.
        """
        if size < 0:
            raise ValueError(f"a size of {size}")
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            data += self._file.read(size - len(data))
        self.offset += len(data)
        if len(data) < size:
            raise EOFError(f"the file ends {size - len(data)} byte(s) too early")
        return data

    def readline(self) -> bytes:
        """The rest of a line with its newline; empty at the end."""
        head, newline, rest = self._ahead.partition(b"\n")
        if newline:
            line, self._ahead = head + newline, rest
        else:
            line, self._ahead = head + self._file.readline(), b""
        self.offset += len(line)
        return line
