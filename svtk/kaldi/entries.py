"""One entry of a Kaldi archive: a key and a vector or matrix, in bytes; kaldiio knows the binary layouts.

What is added to kaldiio: short reads are errors (it takes a torn vector for a shorter one), nothing an
archive holds is unpickled, pipes are read as files are, and text keeps every bit of a float (kaldiio takes
``[ 1 0.5 ]`` for integers and stops).
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from kaldiio.matio import read_int32vector, read_matrix_or_vector, write_array

from svtk.errors import DataError
from svtk.kaldi.streams import ByteSource

__all__ = ["COMPRESSION", "decode_array", "encode_entry", "is_key", "read_key"]

#: Kaldi's numbers of matrix compressions (``compressed-matrix.h``): "auto" is what Kaldi's ``--compress=true``
#: does (one byte per value with quartiles per column; two bytes for eight rows or fewer).
COMPRESSION = {"none": None, "auto": 1, "two-byte": 3}

_LONGEST_KEY = 4096  # bytes; a longer one means that this is no archive
_NOT_KALDI = {
    b"PKL": "a pickle, which could run code",
    b"NPY": "a NumPy file",
    b"AUDIO": "audio",
    b"RIFF": "audio",
    b"fLaC": "audio",
}


def is_key(text: str) -> bool:
    """True when *text* can be a key: not empty and without white space."""
    return bool(text) and not any(c.isspace() for c in text)


def read_key(source: ByteSource, path: str) -> str | None:
    """The next entry's key, None at the end of the archive.

    Raises:
        DataError: what stands there is not a key.
    """
    while source.peek(1) == b"\n":
        source.read(1)
    start, raw = source.offset, bytearray()
    while (byte := source.peek(1)) not in (b"", b" ", b"\t", b"\n") and len(raw) <= _LONGEST_KEY:
        raw += source.read(1)
    if not raw and not byte:
        return None
    if byte in (b" ", b"\t"):
        source.read(1)
    try:
        key = raw.decode("utf-8")
    except UnicodeDecodeError:
        key = ""
    if len(raw) > _LONGEST_KEY or not is_key(key) or not key.isprintable():
        raise DataError(
            f"damaged archive at offset {start}: not a key",
            path=path,
            found=repr(bytes(raw[:20])),
            mend="write the archive again",
        )
    return key


def decode_array(source: ByteSource, path: str, key: str) -> np.ndarray:
    """Read what follows a key: a vector (D,) or matrix (T, D), of floats or int32 (binary integer vectors).

    Text has no type; it is read as float32, as Kaldi does.

    Raises:
        DataError: a damaged or cut off entry (key and offset named), or one that is no vector or matrix.
    """
    start, head = source.offset, source.peek(5)
    for magic, what in _NOT_KALDI.items():
        if head.startswith(magic):
            raise DataError(f"entry {key!r} at offset {start} is {what}", path=path, expected="a vector or matrix")
    try:
        if head.startswith(b"\0B\4"):
            array = read_int32vector(source)
        elif head.startswith(b"\0B"):
            array = read_matrix_or_vector(source)
        else:
            array = _read_text(source)
    except Exception as error:  # kaldiio raises whatever its bytes lead to
        what = str(error) or type(error).__name__
        raise DataError(
            f"damaged archive at key {key!r}, offset {start}: {what}", path=path, mend="write the archive again"
        ) from error
    return array if array.flags.writeable else array.copy()


def _read_text(source: ByteSource) -> np.ndarray:
    line = source.readline()
    if not line.strip().startswith(b"["):  # numbers to the end of the line, as in an alignment
        if not line.endswith(b"\n"):
            raise EOFError("the file ends within a line")
        return np.array(line.split(), dtype=np.bytes_).astype(np.float32)
    body = line.strip()[1:]
    is_matrix = not body.strip()
    lines = [body]
    while not lines[-1].rstrip().endswith(b"]"):
        if not (line := source.readline()):
            raise EOFError("the file ends before ']'")
        lines.append(line)
    lines[-1] = lines[-1].rstrip()[:-1]
    rows = [row for row in map(bytes.split, lines) if row]
    if not rows:
        return np.zeros(0, dtype=np.float32)
    array = np.array(rows, dtype=np.bytes_).astype(np.float32)
    if is_matrix:
        return array
    if len(rows) != 1:
        raise ValueError("a vector goes over several lines")
    return array[0]


def encode_entry(key: str, array: np.ndarray | int, *, text: bool = False, compression: str = "none") -> bytes:
    """The bytes of one entry.

    Args:
        key: without white space.
        array: vector (D,) or matrix (T, D); anything but float32 and float64 is written as float32. A Python int
            is one of Kaldi's int32 tables, as a number of utterances is.
        text: Kaldi's text layout, with as many digits as make the number exact again.
        compression: key of :data:`COMPRESSION`; for binary matrices that are not empty, else ignored.

    Raises:
        DataError: not a key, or NaN or infinity in a matrix to be compressed.
    """
    if not is_key(key):
        raise DataError("not a Kaldi key", found=repr(key), expected="a word without white space")
    if isinstance(array, int):
        return f"{key} {array} \n".encode() if text else f"{key} \0B\4".encode() + struct.pack("<i", array)
    array = np.asarray(array)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    if array.ndim not in (1, 2):
        raise ValueError(f"entry {key!r} of shape {array.shape} is neither vector nor matrix")
    if text:
        return _encode_text(key, array)
    method = COMPRESSION[compression] if array.ndim == 2 and array.size else None
    if method is not None and not np.isfinite(array).all():
        raise DataError(f"entry {key!r} holds NaN or infinity and cannot be compressed", mend="write it uncompressed")
    buffer = io.BytesIO()
    buffer.write(key.encode() + b" ")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # kaldiio lets integers of one-row matrices wrap, then mends them
        write_array(buffer, array, compression_method=method)
    return buffer.getvalue()


def _encode_text(key: str, array: np.ndarray) -> bytes:
    def numbers(row: np.ndarray) -> str:
        return "".join(f"{x!s} " for x in row)  # str of a NumPy float: the fewest digits that tell it apart

    body = f" {numbers(array)}" if array.ndim == 1 else "".join(f"\n  {numbers(row)}" for row in array)
    return f"{key}  [{body}]\n".encode()
