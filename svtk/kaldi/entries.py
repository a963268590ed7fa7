"""Read one entry of a Kaldi archive: a key, then a vector, a matrix or a number.

Sizes are read before values, so that a torn or damaged entry is an error before anything is allocated for it and
an entry can be passed over. Nothing an archive holds is unpickled, pipes are read as files are, compressed matrices
come out as Kaldi's own reader gives them (kaldiio rounds them a little otherwise), and text keeps every bit of a float.
"""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.bytesource import ByteSource

__all__ = ["decode_array", "decode_float", "decode_int", "decode_rows", "is_key", "read_key", "skip_array"]

_LONGEST_KEY = 4096  # bytes; a longer one means that this is no archive
_LONGEST_NUMBER = 100  # bytes of text
_COLUMNS = 1024  # columns of a compressed matrix that are decoded at a time
_REALS = {b"FV": "<f4", b"FM": "<f4", b"DV": "<f8", b"DM": "<f8"}
_COMPRESSED = {b"CM": (1, 8), b"CM2": (2, 0), b"CM3": (1, 0)}  # bytes per value, bytes per column
_NOT_KALDI = {
    b"PKL": "a pickle, which could run code",
    b"NPY": "a NumPy file",
    b"AUDIO": "audio",
    b"RIFF": "audio",
    b"fLaC": "audio",
}
_NOT_IN_NUMBERS = re.compile(rb"[^0-9eE+\-.infatyINFATY\s]")  # Python's float() takes more than Kaldi


def is_key(text: str) -> bool:
    """True when *text* can be a key: not empty and without white space."""
    return bool(text) and not any(c.isspace() for c in text)


def read_key(source: ByteSource, path: str) -> str | None:
    """The next entry's key, None at the end of the archive.

    Raises:
        DataError: what stands there is not a key.
    """
    source.skip_white()
    start, raw = source.offset, source.word(_LONGEST_KEY)
    if not raw:
        return None
    try:
        key = raw.decode("utf-8")
    except UnicodeDecodeError:
        key = ""
    after = source.peek()[:1]
    if len(raw) > _LONGEST_KEY or not is_key(key) or not key.isprintable() or after not in (b"", b" ", b"\t", b"\n"):
        raise DataError(
            f"damaged archive at offset {start}: not a key",
            path=path,
            found=repr(raw[:20]),
            mend="write it again",
        )
    if after in (b" ", b"\t"):
        source.read(1)
    return key


def decode_array(source: ByteSource, path: str, key: str) -> np.ndarray:
    """Read what follows a key: a vector (D,) or matrix (T, D), of floats or (vectors only) of int32.

    Text has no type: ``[ ... ]`` is read as float32, as Kaldi does by default, bare whole numbers as an int32
    vector. Compressed matrices come out as float32.

    Args:
        source: stands behind the key.
        path: for messages.
        key: for messages; empty where the file holds one array and no key.

    Raises:
        DataError: a damaged or cut off entry (key and offset named), or one that is no vector or matrix. A
            changed bit in a key or a value leaves a sound archive and cannot be told.
    """
    return _decode(source, path, key, _binary_array, _text_array)


def decode_rows(source: ByteSource, path: str, key: str, first: int, num_rows: int) -> tuple[np.ndarray, int]:
    """Read some rows of a matrix (T, D) that follows a key, without the others where its format allows it.

    Of float, double and the one- and two-byte compressed matrices only these rows are read; of Kaldi's ``CM``, which
    lies column by column, all is read and only these rows are computed; text is read as a whole.

    Args:
        source: stands behind the key.
        path: for messages.
        key: for messages.
        first: first row.
        num_rows: how many; the matrix may end before.

    Returns:
        the rows that there are (at most *num_rows*, D), and T.

    Raises:
        DataError: as :func:`decode_array`; no matrix.
    """

    def binary(source: ByteSource) -> tuple[np.ndarray, int]:
        return _binary_rows(source, first, num_rows)

    def text(source: ByteSource) -> tuple[np.ndarray, int]:
        array = _text_array(source)
        if array.ndim != 2:
            raise ValueError("a vector where a matrix was expected")
        return array[first : first + num_rows], len(array)

    return _decode(source, path, key, binary, text)


def skip_array(source: ByteSource, path: str, key: str) -> None:
    """Pass over a vector or matrix that follows a key; of a binary one, only the header is read.

    Raises:
        DataError: as :func:`decode_array`.
    """

    def skip(source: ByteSource) -> None:
        source.skip(_read_header(source).num_bytes)

    _decode(source, path, key, skip, _text_array)


def decode_int(source: ByteSource, path: str, key: str) -> int:
    """Read an int32 that follows a key, as in a binary or text utt2num_frames; raises as :func:`decode_array`."""

    def binary(source: ByteSource) -> int:
        return _read_int32(source)

    def text(source: ByteSource) -> int:
        return int(_whole_numbers(_one_word(source))[0])

    return _decode(source, path, key, binary, text)


def decode_float(source: ByteSource, path: str, key: str) -> float:
    """Read a number, float or double, that follows a key, as in utt2dur; raises as :func:`decode_array`."""

    def binary(source: ByteSource) -> float:
        size = source.read(1)[0]
        if size not in (4, 8):
            raise ValueError(f"a float of {size} bytes")
        return struct.unpack("<f" if size == 4 else "<d", source.read(size))[0]

    def text(source: ByteSource) -> float:
        return float(_real_numbers([[_one_word(source)]], np.float64)[0, 0])

    return _decode(source, path, key, binary, text)


def _decode(
    source: ByteSource,
    path: str,
    key: str,
    binary: Callable[[ByteSource], Any],
    text: Callable[[ByteSource], Any],
) -> Any:
    start = source.offset
    try:
        if source.peek()[:1] != b"\0":
            return text(source)
        if source.read(2) != b"\0B":
            raise ValueError("neither binary nor text")
        return binary(source)
    except _NotKaldi as error:
        what = f"entry {key!r} at offset {start} is {error}" if key else f"it is {error}"
        raise DataError(what, path=path, expected="a vector or matrix") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever such bytes lead NumPy to
        place = f"archive at key {key!r}, offset {start}" if key else f"file at offset {start}"
        what = f"damaged {place}: {str(error) or type(error).__name__}"
        raise DataError(what, path=path, mend="write it again") from error


class _NotKaldi(Exception):
    """An entry of a kind that is refused."""


# Binary


@dataclasses.dataclass(frozen=True)
class _Header:
    """What stands before an array's values: ``kind`` is Kaldi's token, ``int`` for an int32 vector."""

    kind: bytes
    shape: tuple[int, ...]
    num_bytes: int  # of what follows
    smallest: float = 0.0  # of a compressed matrix, as is span: its values lie in [smallest, smallest + span]
    span: float = 0.0


def _read_int32(source: ByteSource) -> int:
    raw = source.read(5)
    if raw[0] != 4:
        raise ValueError(f"an integer of {raw[0]} bytes where 4 were expected")
    return struct.unpack("<i", raw[1:])[0]


def _read_size(source: ByteSource) -> int:
    if (size := _read_int32(source)) < 0:
        raise ValueError(f"a size of {size}")
    return size


def _read_header(source: ByteSource) -> _Header:
    if source.peek()[:1] == b"\4":
        size = _read_size(source)
        return _Header(b"int", (size,), 5 * size)
    kind = source.word(3)
    if source.read(1) != b" ":
        raise ValueError(f"unknown type {kind!r}")
    if kind in _REALS:
        shape = tuple(_read_size(source) for _ in range(1 if kind.endswith(b"V") else 2))
        num_bytes = math.prod(shape) * np.dtype(_REALS[kind]).itemsize
        smallest = span = 0.0
    elif kind in _COMPRESSED:
        smallest, span, *shape = struct.unpack("<ffii", source.read(16))
        shape = tuple(shape)
        if min(shape) < 0 or (any(shape) and not (math.isfinite(smallest) and math.isfinite(span) and span >= 0)):
            raise ValueError(f"a compressed matrix {shape} with values from {smallest} over {span}")
        per_value, per_column = _COMPRESSED[kind]
        num_bytes = math.prod(shape) * per_value + shape[1] * per_column
        if not any(shape) and source.peek()[:1] == b"\0":
            num_bytes = 4  # Kaldi writes so many too many, and reads them as part of the next key
    else:
        raise ValueError(f"unknown type {kind!r}")
    if 0 in shape and any(shape):
        raise ValueError(f"a matrix of shape {shape}")
    return _Header(kind, shape, num_bytes, smallest, span)


def _binary_array(source: ByteSource) -> np.ndarray:
    header = _read_header(source)
    return _values(header, source.read(header.num_bytes))


def _binary_rows(source: ByteSource, first: int, num_rows: int) -> tuple[np.ndarray, int]:
    header = _read_header(source)
    if len(header.shape) != 2:
        raise ValueError("a vector where a matrix was expected")
    total, num_columns = header.shape
    first = min(first, total)
    last = min(first + num_rows, total)
    if header.kind == b"CM" or total == 0:
        data = source.read(header.num_bytes)
        return (_by_quantiles(header, data, slice(first, last)) if total else _values(header, data)), total
    size = header.num_bytes // total
    source.skip(first * size)
    data = source.read((last - first) * size)
    source.skip((total - last) * size)  # a matrix that is cut off is an error, whichever rows were asked for
    return _values(dataclasses.replace(header, shape=(last - first, num_columns)), data), total


def _values(header: _Header, data: bytearray) -> np.ndarray:
    if header.kind == b"int":
        rows = np.frombuffer(data, np.uint8).reshape(-1, 5)  # each value is preceded by its size
        if (rows[:, 0] != 4).any():
            raise ValueError("an integer that is not of 4 bytes")
        return rows[:, 1:].copy().view("<i4").reshape(-1).astype(np.int32, copy=False)
    if header.kind in _REALS:
        array = np.frombuffer(data, _REALS[header.kind]).reshape(header.shape)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if 0 in header.shape:
        return np.zeros(header.shape, np.float32)
    if header.kind == b"CM":
        return _by_quantiles(header, data)
    values = np.frombuffer(data, "<u2" if header.kind == b"CM2" else "u1").reshape(header.shape)
    step = header.span / (65535 if header.kind == b"CM2" else 255)
    return np.float32(header.smallest) + values.astype(np.float32) * np.float32(step)


def _by_quantiles(header: _Header, data: bytearray, rows: slice = slice(None)) -> np.ndarray:
    """Kaldi's ``CM``: a byte says where a value stands between its column's minimum, quartiles and maximum."""
    num_rows, num_columns = header.shape
    quantiles = np.frombuffer(data, "<u2", 4 * num_columns).reshape(num_columns, 4)
    if (np.diff(quantiles.astype(np.int32)) < 0).any():
        raise ValueError("a column's quartiles are out of order")
    step = np.float32(header.span / 65535)
    ends = np.float32(header.smallest) + quantiles.astype(np.float32) * step  # (C, 4)
    codes = np.frombuffer(data, np.uint8, offset=8 * num_columns).reshape(num_columns, num_rows)[:, rows]
    array = np.empty((codes.shape[1], num_columns), np.float32)
    for start in range(0, num_columns, _COLUMNS):
        block = slice(start, start + _COLUMNS)
        values = _values_of_codes(*ends[block].T[:, :, None])
        array[:, block] = np.take_along_axis(values, codes[block].astype(np.intp), axis=1).T
    return array


def _values_of_codes(p0: np.ndarray, p25: np.ndarray, p75: np.ndarray, p100: np.ndarray) -> np.ndarray:
    """What each byte means in each of C columns, (C, 256), by the columns' quartiles (C, 1)."""
    low, middle, high = (np.arange(*ends, dtype=np.float32) for ends in ((0, 65), (1, 129), (1, 64)))
    return np.concatenate(
        [p0 + (p25 - p0) * low / 64, p25 + (p75 - p25) * middle / 128, p75 + (p100 - p75) * high / 63], axis=1
    )


# Text


def _text_array(source: ByteSource) -> np.ndarray:
    line = source.readline()
    for magic, what in _NOT_KALDI.items():
        if line.startswith(magic):
            raise _NotKaldi(what)
    body = line.strip()
    if not body.startswith(b"["):
        if not line.endswith(b"\n"):
            raise EOFError("the file ends within a line")
        return _whole_numbers(body)
    lines = [body[1:]]
    is_matrix = not lines[0].strip() or b";" in body
    while not lines[-1].endswith(b"]"):
        if not (line := source.readline()):
            raise EOFError("the file ends before ']'")
        lines.append(line.strip())
    lines[-1] = lines[-1][:-1]
    rows = [row for line in lines for part in line.split(b";") if (row := part.split())]
    if not rows:
        return np.zeros(0, np.float32)
    array = _real_numbers(rows, np.float32)
    if is_matrix:
        return array
    if len(rows) != 1:
        raise ValueError("a vector goes over several lines")
    return array[0]


def _one_word(source: ByteSource) -> bytes:
    line = source.readline()
    words = line.split()
    if len(words) != 1:
        raise ValueError(f"{len(words)} words where one number was expected")
    if not line.endswith(b"\n"):
        raise EOFError("the file ends within a line")
    return words[0]


def _whole_numbers(text: bytes) -> np.ndarray:
    words = text.split()
    for word in words:
        if not re.fullmatch(rb"-?[0-9]{1,10}", word):
            hint = " (a script file is read by scp:)" if b"/" in word or b":" in word else ""
            raise ValueError(f"{word[:20]!r} is neither a whole number nor '['{hint}")
    values = np.array([int(word) for word in words], dtype=np.int64)
    if (values != values.astype(np.int32)).any():
        raise ValueError("a number beyond int32")
    return values.astype(np.int32)


def _real_numbers(rows: list[list[bytes]], dtype: type) -> np.ndarray:
    """Words to numbers (N, D); infinity only where it is written."""
    if len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different length")
    for row in rows:
        if max(map(len, row)) > _LONGEST_NUMBER:  # NumPy gives every word the length of the longest
            raise ValueError(f"a word of {max(map(len, row))} bytes in place of a number")
        if match := _NOT_IN_NUMBERS.search(b" ".join(row)):
            raise ValueError(f"{match[0]!r} in a number")
    with np.errstate(over="ignore"):
        values = np.array(rows, dtype=np.bytes_).astype(np.float64).astype(dtype)
    num_infinite = int(np.isinf(values).sum())
    if num_infinite and num_infinite != sum(b"inf" in word.lower() for row in rows for word in row):
        raise ValueError(f"a number too large for {np.dtype(dtype)}")
    return values
