"""Centring, LDA and length normalisation against transcriptions of what Kaldi's tools do."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.score.lda import Preparation, train_lda


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    speakers = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 9, 12)))
    spks = rng.normal(size=(12, 5)) * [5, 4, 0.1, 0.1, 0.1]
    return spks[speakers] + rng.normal(size=(len(speakers), 5)) @ rng.normal(size=(5, 5)) + 7, speakers


@pytest.mark.parametrize("factor", [0.0, 0.3])
def test_lda_as_kaldi(drawn, factor):
    rows, speakers = drawn
    lda = train_lda(rows, speakers, 2, factor)
    assert lda.shape == (2, 6)
    centred = rows - rows.mean(axis=0)
    total = centred.T @ centred / len(rows)
    between = np.zeros((5, 5))
    for s in range(12):
        own = centred[speakers == s]
        between += len(own) * np.outer(own.mean(axis=0), own.mean(axis=0)) / len(rows)
    within = total - between
    linear = lda[:, :5]
    np.testing.assert_allclose(linear @ (factor * total + (1 - factor) * within) @ linear.T, np.eye(2), atol=1e-9)
    projected = linear @ between @ linear.T
    np.testing.assert_allclose(projected, np.diag(np.diag(projected)), atol=1e-8)
    whitened = np.linalg.solve(factor * total + (1 - factor) * within, between)
    largest = np.sort(np.linalg.eigvals(whitened).real)[::-1][:2]
    np.testing.assert_allclose(np.diag(projected), largest, rtol=1e-8)
    np.testing.assert_allclose((rows @ linear.T + lda[:, 5]).mean(axis=0), 0, atol=1e-9)


def test_a_direction_without_variance_does_not_break_it(drawn):
    rows, speakers = drawn
    rows[:, 4] = 1.0
    lda = train_lda(rows, speakers, 2)
    assert np.isfinite(lda).all() and np.abs(lda[:, 4]).max() < 1e-6


def test_what_lda_refuses(drawn):
    rows, speakers = drawn
    for dim in (0, 6):
        with pytest.raises(DataError, match=f"found {dim}; expected 1 to 5"):
            train_lda(rows, speakers, dim)
    with pytest.raises(DataError, match="no speaker has two"):
        train_lda(rows[:4], np.arange(4), 2)
    with pytest.raises(DataError, match="all alike"):
        train_lda(np.eye(5)[speakers % 5], speakers, 2)


def test_preparation_is_mean_then_transform_then_length(drawn):
    rows, _ = drawn
    rng = np.random.default_rng(1)
    mean, lda = rng.normal(size=5), rng.normal(size=(3, 6))
    expected = np.column_stack([rows - mean, np.ones(len(rows))]) @ lda.T
    np.testing.assert_allclose(Preparation(mean, lda, False).apply(rows), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        Preparation(mean, lda[:, :5], False).apply(rows), expected - lda[:, 5], rtol=1e-5, atol=1e-5
    )
    scaled = Preparation(mean, lda).apply(rows)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(
        scaled, expected * np.sqrt(3) / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5
    )


def test_blocks_do_not_show(drawn, monkeypatch):
    rows, speakers = drawn
    expected = Preparation(rows[0] + 1).apply(rows)
    lda = train_lda(rows, speakers, 2)
    monkeypatch.setattr("svtk.score.lda._ROWS", 7)
    np.testing.assert_array_equal(Preparation(rows[0] + 1).apply(rows), expected)
    np.testing.assert_allclose(np.abs(train_lda(rows, speakers, 2)), np.abs(lda), rtol=1e-8)


def test_what_preparation_refuses(drawn):
    rows, _ = drawn
    with pytest.raises(DataError, match="the mean is of another dimension; found 4; expected 5"):
        Preparation(np.ones(4)).apply(rows)
    with pytest.raises(DataError, match="the transform is of another dimension; found 7"):
        Preparation(None, np.ones((2, 7))).apply(rows)
    with pytest.raises(DataError, match="embedding 3 is zero, NaN or infinite when prepared"):
        Preparation(rows[2]).apply(rows)
    rows[1, 0] = np.inf
    with pytest.raises(DataError, match="embedding 'u1' is"):
        Preparation(length_norm=False).apply(rows, [f"u{i}" for i in range(len(rows))])
