"""Inner products of chosen rows."""

from __future__ import annotations

import numpy as np

from svtk.score import cosine as module
from svtk.score.cosine import cosine


def test_blocks_do_not_show(monkeypatch):
    generator = np.random.default_rng(0)
    for dim in (1, 8, 37, 192):
        enroll = generator.normal(size=(20, dim)).astype(np.float32)
        test = generator.normal(size=(30, dim)).astype(np.float32)
        left, right = generator.integers(0, 20, 101), generator.integers(0, 30, 101)
        monkeypatch.setattr(module, "_BLOCK_VALUES", 1 << 17)
        whole = cosine(enroll, test, left, right)
        assert whole.dtype == np.float32
        np.testing.assert_allclose(whole, np.sum(enroll[left] * test[right], axis=1), rtol=1e-5, atol=1e-5)
        for values in (1, 3 * dim, 50 * dim + 1):
            monkeypatch.setattr(module, "_BLOCK_VALUES", values)
            np.testing.assert_array_equal(cosine(enroll, test, left, right), whole)


def test_no_pairs():
    rows = np.eye(3)
    assert cosine(rows, rows, np.zeros(0, np.intp), np.zeros(0, np.intp)).shape == (0,)
