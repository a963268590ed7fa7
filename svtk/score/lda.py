"""What is done to embeddings before a back end sees them: centring, LDA, length normalisation; and LDA itself.

The order is that of Kaldi's recipes: ``ivector-subtract-global-mean``, ``transform-vec``, ``ivector-normalize-length``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.plda import read_vector
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import read_vectors
from svtk.score.blocks import num_threads_wanted

__all__ = [
    "Preparation",
    "class_sums",
    "product_in_order",
    "read_mean",
    "scatter_within",
    "train_lda",
    "unsound",
]

_ROWS = 1 << 14  # rows converted to float64 at a time
_CHUNK = 512  # rows multiplied at a time by one thread
_EIGENVALUE_FLOOR = 1e-6  # of the largest, as ivector-compute-lda's --covariance-floor


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Centring, LDA and length normalisation, each optional.

    ``mean`` (D,) is subtracted; ``lda`` (D', D), or (D', D + 1) with an offset column, is applied;
    ``length_norm`` scales what comes out to length sqrt(D'), as ``ivector-normalize-length`` does.
    """

    mean: np.ndarray | None = None
    lda: np.ndarray | None = None
    length_norm: bool = True

    def apply(self, rows: np.ndarray, keys: Sequence[str] | None = None) -> np.ndarray:
        """Rows (N, D) → float32 (N, D'), computed in float64; *keys* (N) name the rows in messages.

        Raises:
            DataError: the mean or the transform is of another dimension, or a row becomes NaN, infinite or zero
                where it is to be scaled.

        >>> Preparation(mean=np.array([1.0, 1.0])).apply(np.array([[4.0, 5.0]])).round(6).tolist()
        [[0.8485280275344849, 1.1313710212707520]]
        """
        result, norms = self.scaled(rows, np.matmul)
        sound = np.isfinite(norms) & (norms > 0 if self.length_norm else True)
        if not sound.all():
            raise unsound(int(np.argmin(sound)), keys, "prepared")
        return result

    def scaled(
        self, rows: np.ndarray, product: Callable[..., np.ndarray], length: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`apply`, with the caller to judge which rows are sound.

        Args:
            rows: embeddings (N, D).
            product: of matrices: ``np.matmul``, or :func:`product_in_order`.
            length: what rows are scaled to; None: sqrt(D').

        Returns:
            float32 (N, D'), and the rows' lengths before they were scaled, float64 (N,); a row of length 0, NaN or
            infinity is not scaled.

        Raises:
            DataError: the mean or the transform is of another dimension.
        """
        dim = rows.shape[1]
        if self.mean is not None and len(self.mean) != dim:
            raise _misfit("mean", len(self.mean), dim)
        if self.lda is not None and self.lda.shape[1] not in (dim, dim + 1):
            raise _misfit("transform", self.lda.shape[1], dim)
        result = np.empty((len(rows), dim if self.lda is None else len(self.lda)), dtype=np.float32)
        norms = np.empty(len(rows))
        length = np.sqrt(result.shape[1]) if length is None else length
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS].astype(np.float64)  # (B, D)
            if self.mean is not None:
                block -= self.mean
            if self.lda is not None:
                offset = self.lda[:, dim] if self.lda.shape[1] > dim else 0.0
                block = product(block, self.lda[:, :dim].T) + offset  # (B, D')
            found = np.sqrt(np.einsum("nd,nd->n", block, block))
            norms[start : start + _ROWS] = found
            if self.length_norm:
                with np.errstate(invalid="ignore", divide="ignore"):
                    scale = length / found
                scale[~(np.isfinite(found) & (found > 0))] = 1.0
                block *= scale[:, None]
            with np.errstate(over="ignore"):
                result[start : start + _ROWS] = block
        return result, norms


def product_in_order(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``rows @ matrix``, every value summed in one order whatever the other rows, the threads and the processor's BLAS.

    Ten times as slow as BLAS: for scoring, where results must not depend on how the work was shared.

    Args:
        rows: (N, D).
        matrix: (D, D').
    """
    columns = np.ascontiguousarray(matrix.T)  # (D', D)
    result = np.empty((len(rows), len(columns)))

    def fill(start: int) -> None:
        chunk = slice(start, start + _CHUNK)
        np.einsum("nd,kd->nk", rows[chunk], columns, out=result[chunk])

    with ThreadPoolExecutor(num_threads_wanted()) as pool:
        list(pool.map(fill, range(0, len(rows), _CHUNK)))
    return result


def unsound(row: int, keys: Sequence[str] | None, when: str) -> DataError:
    """The error for a row that is NaN, infinite, or zero and to be scaled."""
    name = f"embedding {row + 1}" if keys is None else f"embedding {keys[row]!r}"
    return DataError(f"{name} is zero, NaN or infinite when {when}", mend="extract it again or leave it out")


def _misfit(what: str, found: int, dim: int) -> DataError:
    return DataError(
        f"the {what} is of another dimension",
        found=str(found),
        expected=f"{dim}, as the embeddings",
        mend="train it on embeddings of this model",
    )


def read_mean(source: str) -> np.ndarray:
    """A vector file such as ``mean.vec`` or, from an rspecifier, the mean of its vectors; float64 (D,).

    Raises:
        DataError: it cannot be read, or holds NaN or infinity.
    """
    if not is_rspecifier(source):
        return read_vector(source)
    mean = read_vectors(source)[1].mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise DataError("the mean holds NaN or infinity", path=source, mend="extract these embeddings again")
    return mean


def class_sums(rows: np.ndarray, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of rows per speaker, (S,) float64, and their sums, (S, D) float64.

    Args:
        rows: (N, D).
        speakers: integers (N,) from 0 to S - 1, each there at least once.
    """
    counts = np.bincount(speakers).astype(np.float64)
    sums = np.stack([np.bincount(speakers, column, len(counts)) for column in rows.T], axis=1)
    return counts, sums


def _deviations(rows: np.ndarray, speakers: np.ndarray, means: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _ROWS):
        block = slice(start, start + _ROWS)
        yield rows[block].astype(np.float64) - means[speakers[block]]


def scatter_within(rows: np.ndarray, speakers: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Sum of the outer products of the rows' (N, D) deviations from their speaker's mean (S, D); (D, D) float64."""
    return sum(block.T @ block for block in _deviations(rows, speakers, means))


def train_lda(rows: np.ndarray, speakers: np.ndarray, dim: int, total_covariance_factor: float = 0.0) -> np.ndarray:
    """Linear discriminant analysis as ``ivector-compute-lda``.

    With the covariances Σ within speakers and Τ in all (both divided by N), M = fΤ + (1 - f)Σ is made the
    identity, and the *dim* directions in which Τ - Σ is then largest are kept.

    Args:
        rows: embeddings (N, D).
        speakers: integers (N,) from 0 to S - 1.
        dim: D', the dimension to keep.
        total_covariance_factor: f, from 0 (Kaldi's default) to 1.

    Returns:
        float64 (D', D + 1); the last column is the offset that makes the mean of the rows zero.

    Raises:
        DataError: more dimensions than there are, or no speaker with two rows.
    """
    num_rows, full = rows.shape
    counts, sums = class_sums(rows, speakers)
    if not 1 <= dim <= full:
        raise DataError("LDA keeps some of the dimensions", found=str(dim), expected=f"1 to {full}")
    if len(counts) == num_rows:
        raise DataError("no speaker has two embeddings, so none can be told from its speaker", mend="give more data")
    mean = sums.sum(axis=0) / num_rows
    centred = sums / counts[:, None] - mean
    within = scatter_within(rows, speakers, sums / counts[:, None]) / num_rows
    between = (centred.T * counts) @ centred / num_rows
    values, vectors = np.linalg.eigh(within + total_covariance_factor * between)
    values = np.maximum(values, _EIGENVALUE_FLOOR * values[-1])
    if values[-1] <= 0:
        raise DataError("the embeddings of each speaker are all alike", mend="give embeddings of different utterances")
    whitening = (vectors / np.sqrt(values)).T  # (D, D)
    directions = np.linalg.eigh(whitening @ between @ whitening.T)[1][:, ::-1][:, :dim]  # (D, D')
    linear = directions.T @ whitening
    return np.column_stack([linear, -linear @ mean])
