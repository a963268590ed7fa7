"""What lies in a shard, a tar file: ``path.tar:offset`` is where its first byte is, as Kaldi names archives' entries.

The 512 bytes before it are tar's header, which tells its length.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import BinaryIO

from svtk.errors import DataError

__all__ = ["HEADER", "is_in_shard", "open_shard", "read_from_shard"]

#: bytes of a header of tar
HEADER = 512
_IN_SHARD = re.compile(r"(.+\.tar):(\d+)", re.DOTALL)
_OPEN = 64  # shards kept open
_MEND = "copy the shard again, or remove it and run svtk make-shards again"


def is_in_shard(wav: str) -> bool:
    """Whether *wav* is ``path.tar:offset``."""
    return _IN_SHARD.fullmatch(wav) is not None


@lru_cache(maxsize=_OPEN)
def open_shard(path: str) -> BinaryIO:
    """The shard; it is kept open."""
    return open(path, "rb", buffering=0)


def read_from_shard(wav: str) -> bytes:
    """What lies at ``path.tar:offset``, whole.

    Raises:
        DataError: the shard cannot be opened, no entry of a tar file begins there, or the file ends within it.
        OSError: the shard cannot be read.
    """
    path, offset = _IN_SHARD.fullmatch(wav).groups()
    try:
        file, start = open_shard(path), int(offset)
    except OSError as error:
        mend = f"put {path!r} back; where the shards were moved, run svtk make-shards into their directory again"
        raise DataError(f"cannot open the shard: {error.strerror}", path=wav, mend=mend) from error
    header = os.pread(file.fileno(), HEADER, start - HEADER) if start >= HEADER else b""
    if len(header) == HEADER:
        try:
            size, checksum = (int(header[a:b].strip(b"\0 "), 8) for a, b in ((124, 136), (148, 156)))
        except ValueError:
            size = checksum = -1
        if header[257:262] != b"ustar" or checksum != sum(header[:148] + b" " * 8 + header[156:]):
            raise DataError("no entry of a shard begins at this offset", path=wav, mend=_MEND)
        data = os.pread(file.fileno(), size, start)
        while len(data) < size and (more := os.pread(file.fileno(), size - len(data), start + len(data))):
            data += more
        if len(data) == size:
            return data
    held = os.fstat(file.fileno()).st_size
    raise DataError(f"the shard is cut off at {held} bytes", path=wav, mend=_MEND)
