"""The files of a Kaldi scoring back end: ``plda``, ``transform.mat`` (LDA) and ``mean.vec``.

Layouts as Kaldi's ``ivector/plda.cc`` and ``matrix/kaldi-{vector,matrix}.cc`` write them: a PLDA file is the
token ``<Plda>``, the mean (D,), the transform (D, D), psi (D,) and ``</Plda>``, in text or, after ``\\0B``,
in binary; the other two are one matrix and one vector without a key.
"""

from __future__ import annotations

import dataclasses
import os
import re
import struct

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.scripts import read_array
from svtk.kaldi.streams import open_rxfilename, open_wxfilename

__all__ = ["Plda", "read_matrix", "read_plda", "read_vector", "write_matrix", "write_plda", "write_vector"]

_BINARY = b"\0B"
_TYPES = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}
_TEXT = re.compile(r"\s*<Plda>" + r"\s*\[([^\[\]]*)\]" * 3 + r"\s*</Plda>\s*")


@dataclasses.dataclass(frozen=True)
class Plda:
    """A two-covariance model, diagonalised; float64.

    An embedding x (D,) becomes ``u = transform @ (x - mean)``. There the covariance within speakers is the
    identity, and that between speakers is the diagonal ``psi``.

    ``mean`` (D,), ``transform`` (D, D), ``psi`` (D,), all >= 0.
    """

    mean: np.ndarray
    transform: np.ndarray
    psi: np.ndarray

    @property
    def dim(self) -> int:
        """D, the dimension of the embeddings."""
        return len(self.mean)


def read_plda(rxfilename: str | os.PathLike) -> Plda:
    """Read a PLDA file, binary or text, of floats or doubles.

    Raises:
        DataError: the file cannot be read, is no whole PLDA file, or holds what no PLDA model can.
    """
    path = os.fspath(rxfilename)
    with open_rxfilename(rxfilename) as file:
        data = file.read()
    try:
        parts = _binary_parts(data) if data.startswith(_BINARY) else _text_parts(data)
    except (ValueError, EOFError) as error:
        mend = "train it with svtk train-plda or ivector-compute-plda"
        raise DataError(f"not a PLDA file: {error}", path=path, expected="<Plda> ... </Plda>", mend=mend) from error
    mean, transform, psi = (part.astype(np.float64) for part in parts)
    if not (mean.ndim == psi.ndim == 1 and transform.shape == (len(mean), len(mean)) and len(psi) == len(mean) > 0):
        found = f"shapes {mean.shape}, {transform.shape}, {psi.shape}"
        raise DataError("not a PLDA file", path=path, found=found, expected="(D,), (D, D), (D,)")
    if not all(np.isfinite(part).all() for part in (mean, transform, psi)) or (psi < 0).any():
        raise DataError("the PLDA model holds NaN, infinity or a negative variance", path=path, mend="train it again")
    return Plda(mean, transform, psi)


def _binary_parts(data: bytes) -> list[np.ndarray]:
    source = _Bytes(data, len(_BINARY))
    source.token(b"<Plda>")
    parts = [source.array(kind) for kind in (b"V", b"M", b"V")]
    source.token(b"</Plda>")
    return parts


class _Bytes:
    """Kaldi's binary tokens, vectors and matrices, one after the other."""

    def __init__(self, data: bytes, offset: int):
        self._data, self._offset = data, offset

    def _take(self, size: int) -> bytes:
        piece = self._data[self._offset : self._offset + size]
        if len(piece) != size:
            raise EOFError(f"it ends {size - len(piece)} byte(s) too early")
        self._offset += size
        return piece

    def token(self, word: bytes) -> None:
        found = self._take(len(word) + 1)
        if found != word + b" ":
            raise ValueError(f"{found!r} at offset {self._offset - len(found)}")

    def array(self, kind: bytes) -> np.ndarray:
        head = self._take(3)
        if head[:1] not in _TYPES or head[1:] != kind + b" ":
            raise ValueError(f"{head!r} at offset {self._offset - 3}")
        shape = []
        for _ in range(1 if kind == b"V" else 2):
            width, size = struct.unpack("<bi", self._take(5))
            if width != 4 or size < 0:
                raise ValueError(f"a size of {size} at offset {self._offset - 5}")
            shape.append(size)
        dtype = _TYPES[head[:1]]
        count = int(np.prod(shape, dtype=object))
        return np.frombuffer(self._take(count * dtype.itemsize), dtype).reshape(shape)


def _text_parts(data: bytes) -> list[np.ndarray]:
    match = _TEXT.fullmatch(data.decode("ascii"))
    if match is None:
        raise ValueError(f"{data[:20]!r} ...")
    mean, matrix, psi = (np.array(body.split(), dtype=np.float64) for body in match.groups())
    rows = [row for row in map(str.split, match[2].split("\n")) if row]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows of different length")
    return [mean, matrix.reshape(len(rows), -1) if rows else np.zeros((0, 0)), psi]


def write_plda(wxfilename: str | os.PathLike, plda: Plda, *, text: bool = False) -> None:
    """Write a PLDA file of doubles, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    parts = [np.asarray(part, dtype="<f8") for part in (plda.mean, plda.transform, plda.psi)]
    if text:
        body = "".join(_text_array(part) for part in parts)
        _write(wxfilename, f"<Plda> {body}</Plda> ".encode())
    else:
        _write(wxfilename, _BINARY + b"<Plda> " + b"".join(map(_binary_array, parts)) + b"</Plda> ")


def _binary_array(array: np.ndarray) -> bytes:
    kind = (b"F" if array.dtype == np.float32 else b"D") + (b"V" if array.ndim == 1 else b"M") + b" "
    return kind + b"".join(struct.pack("<bi", 4, size) for size in array.shape) + array.tobytes()


def _text_array(array: np.ndarray) -> str:
    rows = array[None] if array.ndim == 1 else array
    lead = " " if array.ndim == 1 else "\n  "
    return " [" + "".join(lead + "".join(f"{value!s} " for value in row) for row in rows) + "]\n"


def _write(wxfilename: str | os.PathLike, data: bytes) -> None:
    with open_wxfilename(os.fspath(wxfilename)) as output:
        output.write(data)


def _read_array(rxfilename: str | os.PathLike, ndim: int, expected: str) -> np.ndarray:
    path, array = os.fspath(rxfilename), read_array(rxfilename)
    if array.ndim != ndim or array.size == 0:
        raise DataError("does not fit", path=path, found=f"shape {array.shape}", expected=expected)
    if not np.isfinite(array).all():
        raise DataError("holds NaN or infinity", path=path, expected=expected)
    return array.astype(np.float64)


def read_vector(rxfilename: str | os.PathLike) -> np.ndarray:
    """Read one vector without a key, such as ``mean.vec``; float64 (D,).

    Raises:
        DataError: the file cannot be read or is no vector of finite numbers.
    """
    return _read_array(rxfilename, 1, "a vector")


def read_matrix(rxfilename: str | os.PathLike) -> np.ndarray:
    """Read one matrix without a key, such as ``transform.mat``; float64.

    Raises:
        DataError: the file cannot be read or is no matrix of finite numbers.
    """
    return _read_array(rxfilename, 2, "a matrix")


def write_vector(wxfilename: str | os.PathLike, vector: np.ndarray) -> None:
    """Write a vector (D,) as Kaldi's ``mean.vec``: binary, float32; whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    _write(wxfilename, _BINARY + _binary_array(np.asarray(vector, dtype="<f4")))


def write_matrix(wxfilename: str | os.PathLike, matrix: np.ndarray) -> None:
    """Write a matrix as Kaldi's ``transform.mat``: binary, float32; whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    _write(wxfilename, _BINARY + _binary_array(np.asarray(matrix, dtype="<f4")))
