"""Write one entry of a Kaldi archive: a vector, a matrix or a number as bytes; kaldiio compresses matrices."""

from __future__ import annotations

import io
import struct

import numpy as np
from kaldiio.compression_header import GlobalHeader
from kaldiio.matio import write_array

from svtk.errors import DataError

__all__ = ["COMPRESSION", "encode"]

#: Kaldi's numbers of matrix compressions (``compressed-matrix.h``): "auto" is what Kaldi's ``--compress=true``
#: does (one byte per value with quartiles per column; two bytes for eight rows or fewer).
COMPRESSION = {"none": None, "auto": 1, "two-byte": 3}


def encode(key: str, value: np.ndarray | float, *, text: bool = False, compression: str = "none") -> bytes:
    """What follows a key and a space.

    Args:
        key: for messages.
        value: vector (D,) or matrix (T, D), or a single number. Whole numbers (vector or single) become
            int32, as in an alignment or utt2num_frames; float32 and float64 stay what they are; all else
            becomes float32. A matrix of no values is written as 0 × 0: Kaldi knows no other.
        text: Kaldi's text layout, with as many digits as make the number exact again.
        compression: key of :data:`COMPRESSION`; for binary matrices that are not empty, else ignored.

    Raises:
        DataError: a whole number beyond int32, or a matrix to be compressed with NaN, infinity or a range
            beyond float32.
    """
    array = np.asarray(value)
    if array.ndim > 2 or array.dtype.kind not in "biuf" or (array.ndim == 0 and array.dtype.kind == "b"):
        raise ValueError(f"entry {key!r} of shape {array.shape} and type {array.dtype} is no vector, matrix or number")
    if array.dtype.kind in "iu" and array.ndim < 2:
        return _encode_integers(key, array, text)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    if array.size == 0 and array.ndim == 2:
        array = np.zeros((0, 0), array.dtype)
    if text:
        return _encode_text(array)
    if array.ndim == 0:
        return b"\0B" + struct.pack("<bf" if array.dtype == np.float32 else "<bd", array.itemsize, array)
    method = COMPRESSION[compression] if array.ndim == 2 and array.size else None
    if method is not None:
        array = _compressible(key, array, method)
    buffer = io.BytesIO()
    write_array(buffer, array, compression_method=method)
    return buffer.getvalue()


def _encode_integers(key: str, array: np.ndarray, text: bool) -> bytes:
    if array.size and not -(1 << 31) <= int(array.min()) <= int(array.max()) < 1 << 31:
        raise DataError(f"entry {key!r} has a number beyond int32", found=str(array.max()))
    if text:
        return "".join(f"{x} " for x in array.reshape(-1).tolist()).encode() + b"\n"
    values = np.zeros(array.size, np.dtype([("size", "i1"), ("value", "<i4")]))  # each value is preceded by its size
    values["size"], values["value"] = 4, array.reshape(-1)
    length = struct.pack("<bi", 4, array.size) if array.ndim else b""
    return b"\0B" + length + values.tobytes()


def _compressible(key: str, array: np.ndarray, method: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
        if not np.isfinite(array).all() or not np.isfinite(GlobalHeader.compute(array, method).range):
            what = f"entry {key!r} holds NaN, infinity or too wide a range and cannot be compressed"
            raise DataError(what, mend="write it uncompressed")
    return array


def _encode_text(array: np.ndarray) -> bytes:
    def numbers(row: np.ndarray) -> str:
        return "".join(f"{x!s} " for x in row)  # str of a NumPy float: the fewest digits that tell it apart

    if array.ndim == 0:
        return f"{array!s} \n".encode()
    rows = f" {numbers(array)}" if array.ndim == 1 or not array.size else "".join(f"\n  {numbers(r)}" for r in array)
    return f" [{rows}]\n".encode()
