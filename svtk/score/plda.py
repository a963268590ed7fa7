"""PLDA: training, unsupervised adaptation and log-likelihood ratios, as Kaldi's ``ivector/plda.cc``.

The model: a speaker is y ~ N(mean, B), each of its embeddings x ~ N(y, W). The score of a trial is
log p(x1, ..., xn, x) - log p(x1, ..., xn) - log p(x), with p the joint Gaussian densities and x1 ... xn the
enrolment; it depends on the enrolment only through its mean and n. :class:`svtk.kaldi.plda.Plda` holds the
space in which W is the identity and B diagonal.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.plda import Plda
from svtk.score.cosine import cosine as inner_products
from svtk.score.lda import class_sums, product_in_order, scatter_within, unsound

__all__ = ["PldaScorer", "adapt_plda", "project", "project_scaled", "train_plda"]

_BLOCK_VALUES = 1 << 19  # float64 values gathered per side and block: 4 MiB


def _diagonalise(within: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """T (D, D) and psi (D,), falling, with T W T' = I and T B T' = diag(psi)."""
    try:
        whitening = np.linalg.inv(np.linalg.cholesky(within))
    except np.linalg.LinAlgError:
        raise DataError(
            "the covariance within speakers is singular",
            expected="more embeddings than dimensions",
            mend="give more data, or reduce the dimension by LDA (--lda-dim)",
        ) from None
    psi, vectors = np.linalg.eigh(whitening @ between @ whitening.T)
    return vectors.T[::-1] @ whitening, np.maximum(psi[::-1], 0.0)


def train_plda(rows: np.ndarray, speakers: np.ndarray, num_iters: int = 10) -> Plda:
    """Expectation maximisation from W = B = I, as ``ivector-compute-plda``; every speaker weighs the same.

    Args:
        rows: embeddings (N, D).
        speakers: integers (N,) from 0 to S - 1, each there at least once.
        num_iters: iterations; Kaldi's ``--num-em-iters``.

    Raises:
        DataError: fewer than two speakers, no speaker with two embeddings, or a singular covariance.
    """
    counts, sums = class_sums(rows, speakers)  # (S,), (S, D)
    num_rows, dim = rows.shape
    if len(counts) < 2 or len(counts) == num_rows:
        found = f"{num_rows} embedding(s) of {len(counts)} speaker(s)"
        raise DataError("PLDA cannot be trained", found=found, expected="two speakers, one of them with two embeddings")
    means = sums / counts[:, None]
    scatter = scatter_within(rows, speakers, means)
    mean = means.mean(axis=0)
    centred = means - mean
    within, between = np.eye(dim), np.eye(dim)
    for _ in range(num_iters):
        # In the space where W = I and B = diag(psi), the speaker given its n embeddings has the covariance
        # psi / (1 + n psi), a diagonal, and the mean n psi / (1 + n psi) times theirs.
        transform, psi = _diagonalise(within, between)
        back = np.linalg.inv(transform)
        class_means = centred @ transform.T  # (S, D)
        n = counts[:, None]
        variances = psi / (1 + n * psi)  # (S, D)
        speaker = n * variances * class_means
        channel = class_means - speaker
        between = speaker.T @ speaker + np.diag(variances.sum(axis=0))
        within = (channel.T * counts) @ channel + np.diag((n * variances).sum(axis=0))
        between = back @ between @ back.T / len(counts)
        within = (back @ within @ back.T + scatter) / num_rows
    return Plda(mean, *_diagonalise(within, between))


def adapt_plda(
    plda: Plda,
    rows: np.ndarray,
    *,
    within_covar_scale: float = 0.3,
    between_covar_scale: float = 0.7,
    mean_diff_scale: float = 1.0,
) -> Plda:
    """Adapt a model to another domain by embeddings without speakers, as ``ivector-adapt-plda``.

    The mean becomes that of the data. In every direction in which the data varies more than the model says
    (an eigenvector of its covariance where the model's total covariance is the identity, with an eigenvalue
    s > 1), s - 1 is added: *within_covar_scale* of it to W and *between_covar_scale* to B.

    Args:
        plda: the model.
        rows: embeddings (N, D) of the new domain, prepared as those the model was trained on.
        mean_diff_scale: how much the distance of the two means counts as variance of the data.

    Raises:
        DataError: embeddings of another dimension, or none.
    """
    if len(rows) == 0 or rows.shape[1] != plda.dim:
        raise DataError("the embeddings do not fit the PLDA", found=f"shape {rows.shape}", expected=f"(N, {plda.dim})")
    mean = rows.mean(axis=0, dtype=np.float64)
    nobody = np.zeros(len(rows), dtype=np.int64)
    shift = mean - plda.mean
    variance = scatter_within(rows, nobody, mean[None]) / len(rows) + mean_diff_scale * np.outer(shift, shift)
    to_unit = plda.transform / np.sqrt(1 + plda.psi)[:, None]  # the total covariance becomes I
    values, vectors = np.linalg.eigh(to_unit @ variance @ to_unit.T)
    excess = (vectors * np.maximum(values - 1, 0)) @ vectors.T  # (D, D)
    within = np.diag(1 / (1 + plda.psi)) + within_covar_scale * excess
    between = np.diag(plda.psi / (1 + plda.psi)) + between_covar_scale * excess
    transform, psi = _diagonalise(within, between)
    return Plda(mean, transform @ to_unit, psi)


def project(
    plda: Plda,
    rows: np.ndarray,
    num_utts: np.ndarray | int = 1,
    *,
    normalize_length: bool = True,
    simple_length_norm: bool = False,
    keys: Sequence[str] | None = None,
) -> np.ndarray:
    """Take embeddings into the model's space, as Kaldi's ``TransformIvector``; the same whatever the other rows.

    Args:
        rows: embeddings, or means of several, (N, D).
        num_utts: how many utterances each row is the mean of: (N,) or one number for all.
        normalize_length: scale each row so that its squared length, weighted by the inverse of the covariance
            psi + 1 / num_utts that it should have, is D (Kaldi's default).
        simple_length_norm: scale to length sqrt(D) instead (``--simple-length-norm=true``).
        keys: (N), name the rows in messages.

    Returns:
        float64 (N, D).

    Raises:
        DataError: embeddings of another dimension, or a row that is NaN, infinite or, where it is to be scaled, zero.
    """
    scaling = None if not normalize_length else "simple" if simple_length_norm else "covariance"
    result, norms = project_scaled(plda, rows, num_utts, scaling)
    sound = np.isfinite(norms) & (norms > 0 if normalize_length else True)
    if not sound.all():
        raise unsound(int(np.argmin(sound)), keys, "projected")
    return result


def project_scaled(
    plda: Plda, rows: np.ndarray, num_utts: np.ndarray | int, scaling: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`project`, with the caller to judge which rows are sound.

    Args:
        plda, rows, num_utts: as :func:`project`.
        scaling: ``covariance`` (Kaldi's default), ``simple``, or None: none.

    Returns:
        float64 (N, D), and the rows' (weighted) lengths before they were scaled, (N,); a row of length 0, NaN or
        infinity is not scaled.

    Raises:
        DataError: embeddings of another dimension.
    """
    if rows.shape[1] != plda.dim:
        raise DataError(
            "the embeddings do not fit the PLDA", found=f"dimension {rows.shape[1]}", expected=str(plda.dim)
        )
    num_utts = np.broadcast_to(np.asarray(num_utts), (len(rows),))
    result, norms = np.empty(rows.shape), np.empty(len(rows))
    step = max(1, _BLOCK_VALUES // plda.dim)
    for start in range(0, len(rows), step):
        chunk = slice(start, start + step)
        block = product_in_order(rows[chunk] - plda.mean, plda.transform.T)  # (B, D)
        covariance = plda.psi + 1 / num_utts[chunk, None]  # (B, D)
        weights = 1 / covariance if scaling == "covariance" else np.ones((1, plda.dim))
        found = np.sqrt((block * block * weights).sum(axis=1))
        if scaling is not None:
            usable = np.isfinite(found) & (found > 0)
            block *= np.sqrt(plda.dim) / np.where(usable, found, np.sqrt(plda.dim))[:, None]
        result[chunk], norms[chunk] = block, found
    return result, norms


class PldaScorer:
    """Log-likelihood ratios of any pairs of enrolment and test rows.

    With n utterances behind an enrolment u and the diagonal v = 1 + psi / (n psi + 1), the ratio is
    log N(t; n psi / (n psi + 1) u, v) - log N(t; 0, 1 + psi): an inner product of a weighted u with t, plus a
    number of u alone, plus a number of t and n alone. So a trial costs one inner product.

    Args:
        plda: the model.
        enroll: projected rows (N, D).
        test: projected rows (M, D).
        num_utts: utterances behind each enrolment row: (N,) or one number for all.
    """

    def __init__(self, plda: Plda, enroll: np.ndarray, test: np.ndarray, num_utts: np.ndarray | int = 1):
        num_utts = np.broadcast_to(np.asarray(num_utts), (len(enroll),))
        if (num_utts < 1).any():
            raise DataError("a number of utterances below 1", found=str(num_utts.min()))
        kinds, self._kind = np.unique(num_utts, return_inverse=True)  # (K,) and (N,)
        psi, n = plda.psi, kinds[:, None]  # (D,), (K, 1)
        gain = n * psi / (n * psi + 1)  # (K, D)
        variance = 1 + psi / (n * psi + 1)  # (K, D)
        log_ratio = 0.5 * (np.log1p(psi) - np.log(variance)).sum(axis=1)  # (K,)
        #: (N, D): what the test row is multiplied with.
        self.enroll = np.empty(enroll.shape)
        #: (M, D)
        self.test = np.asarray(test, dtype=np.float64)
        #: (N,): added for the enrolment.
        self.enroll_offset = np.empty(len(enroll))
        #: (M, K): added for the test row and the number of enrolment utterances.
        self.test_offset = np.empty((len(self.test), len(kinds)))
        step = max(1, _BLOCK_VALUES // plda.dim)
        for start in range(0, len(enroll), step):
            chunk = slice(start, start + step)
            kind = self._kind[chunk]
            self.enroll[chunk] = enroll[chunk] * (gain / variance)[kind]
            squares = (enroll[chunk] * gain[kind] * self.enroll[chunk]).sum(axis=1)
            self.enroll_offset[chunk] = log_ratio[kind] - 0.5 * squares
        weights = (0.5 * (1 / (1 + psi) - 1 / variance)).T  # (D, K)
        for start in range(0, len(self.test), step):
            chunk = slice(start, start + step)
            self.test_offset[chunk] = product_in_order(self.test[chunk] * self.test[chunk], weights)

    def pairs(self, enroll_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
        """Ratios of chosen pairs: integers (T,) and (T,) → float64 (T,)."""
        products = inner_products(self.enroll, self.test, enroll_index, test_index)
        return products + (self.enroll_offset[enroll_index] + self.test_offset[test_index, self._kind[enroll_index]])

    def averaged(
        self, enroll: Callable[[np.ndarray], np.ndarray] | None, test: Callable[[np.ndarray], np.ndarray] | None
    ) -> PldaScorer:
        """A scorer of models whose ratios are the means over all pairs of their rows' ratios.

        Args:
            enroll, test: give the means (N', ...) of groups of rows of an array (N, ...); None: rows as they are.
                All enrolment rows must be of the same number of utterances.
        """
        result = copy.copy(self)
        if enroll is not None:
            result.enroll, result.enroll_offset = enroll(self.enroll), enroll(self.enroll_offset)
            result._kind = np.zeros(len(result.enroll), dtype=np.intp)
        if test is not None:
            result.test, result.test_offset = test(self.test), test(self.test_offset)
        return result

    def tile(self, enroll: slice = slice(None), test: slice = slice(None)) -> np.ndarray:
        """Ratios of all pairs of a range of enrolment rows with a range of test rows; float64 (N', M')."""
        products = self.enroll[enroll] @ self.test[test].T
        products += self.enroll_offset[enroll, None]
        products += self.test_offset[test][:, self._kind[enroll]].T
        return products
