"""Bytes of a file or pipe: counted, and read exactly or not at all, however much a damaged header asks for."""

from __future__ import annotations

import io
import os
import stat
from typing import BinaryIO

__all__ = ["ByteSource"]

_PIECE = 1 << 20  # bytes read at a time where nobody knows how many there are
_LONGEST_LINE = 1 << 28  # bytes; a longer line means that this is no text


class ByteSource:
    """Bytes with look-ahead, exact reads and a count.

    Args:
        file: open for binary reading.

    ``offset`` is the place of the next byte, in a pipe counted from where reading began.
    """

    def __init__(self, file: BinaryIO):
        self._file = file if hasattr(file, "peek") else io.BufferedReader(file)
        self.offset, self._size = 0, None
        if file.seekable():
            self.offset = file.tell()
            self._size = _size(file)

    def peek(self) -> bytes:
        """What can be seen without waiting for more: one byte at least, none only at the end."""
        return self._file.peek(1)

    def word(self, limit: int) -> bytes:
        """The bytes up to the next ASCII white space or the end, at most *limit* and one."""
        word = bytearray()
        while len(word) <= limit and (ahead := self.peek()):
            ahead = ahead[: limit + 1 - len(word)]
            head = ahead.split(None, 1)[0] if not ahead[:1].isspace() else b""
            word += self.read(len(head))
            if len(head) < len(ahead):
                break
        return bytes(word)

    def skip_white(self) -> None:
        """Skip ASCII white space."""
        while (ahead := self.peek()) and (num := len(ahead) - len(ahead.lstrip())):
            self.read(num)

    def read(self, size: int) -> bytearray:
        """Exactly *size* bytes, in memory that may be written to.

        Raises:
            EOFError: there are fewer; nothing near *size* is then allocated.
            ValueError: a negative size.
        """
        self._check(size)
        data = bytearray(size if self._size is not None else 0)
        if self._size is not None:
            num = self._file.readinto(data) if size else 0
        else:
            while len(data) < size and (piece := self._file.read(min(_PIECE, size - len(data)))):
                data += piece
            num = len(data)
        self.offset += num
        if num < size:
            raise EOFError(f"the file ends {size - num} byte(s) too early")
        return data

    def skip(self, size: int) -> None:
        """Pass over *size* bytes, without reading them where the file allows it; raises as :meth:`read`."""
        self._check(size)
        if self._size is not None:
            self._file.seek(size, os.SEEK_CUR)
            self.offset += size
            return
        while size > 0:
            num = min(_PIECE, size)
            self.read(num)
            size -= num

    def readline(self) -> bytes:
        """The rest of a line with its newline; empty at the end.

        Raises:
            ValueError: a line so long that it cannot be text.
        """
        line = self._file.readline(_LONGEST_LINE)
        self.offset += len(line)
        if len(line) == _LONGEST_LINE:
            raise ValueError(f"a line of {_LONGEST_LINE} bytes or more")
        return line

    def _check(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"a size of {size}")
        if self._size is not None and size > self._size - self.offset:
            raise EOFError(f"the file ends {size - (self._size - self.offset)} byte(s) too early")


def _size(file: BinaryIO) -> int | None:
    try:
        status = os.fstat(file.fileno())
    except (OSError, ValueError, AttributeError):  # in memory
        return len(file.getbuffer()) if isinstance(file, io.BytesIO) else None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
