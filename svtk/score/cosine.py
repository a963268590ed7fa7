"""Inner products of chosen rows: cosines, when the rows have unit length."""

from __future__ import annotations

import numpy as np

__all__ = ["cosine"]

_BLOCK_VALUES = 1 << 17  # values gathered per side and block: they stay in a processor's own cache


def cosine(enroll: np.ndarray, test: np.ndarray, enroll_index: np.ndarray, test_index: np.ndarray) -> np.ndarray:
    """Inner products of chosen rows; a pair's does not depend on the others.

    Args:
        enroll, test: (N, D) and (M, D), of one type, float32 or float64.
        enroll_index, test_index: rows of the K trials, integers (K,).

    Returns:
        (K,), of the rows' type.

    >>> import numpy as np
    >>> rows = np.eye(2, dtype=np.float32)
    >>> cosine(rows, rows, np.array([0, 0]), np.array([0, 1])).tolist()
    [1.0, 0.0]
    """
    scores = np.empty(len(enroll_index), dtype=enroll.dtype)
    step = max(1, _BLOCK_VALUES // max(1, enroll.shape[1]))
    left, right = (np.empty((min(step, len(scores)), enroll.shape[1]), dtype=enroll.dtype) for _ in range(2))
    for start in range(0, len(scores), step):
        block = slice(start, start + step)
        size = len(scores[block])
        np.take(enroll, enroll_index[block], axis=0, out=left[:size], mode="clip")  # "clip": with no copy of its own
        np.take(test, test_index[block], axis=0, out=right[:size], mode="clip")
        np.einsum("kd,kd->k", left[:size], right[:size], out=scores[block])
    return scores
