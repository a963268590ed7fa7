"""PLDA against float64 transcriptions of its definition, and of Kaldi's training and adaptation step by step."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.plda import Plda
from svtk.score.plda import PldaScorer, adapt_plda, project, train_plda


def draw(num_spks=40, dim=6, seed=0, between=2.0):
    """Embeddings of speakers with 1 to 5 utterances each: rows (N, D), speakers (N,)."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, num_spks)
    speakers = rng.permutation(np.repeat(np.arange(num_spks), counts))
    mixing = rng.normal(size=(dim, dim))
    spks = between * rng.normal(size=(num_spks, dim))
    return (spks[speakers] + rng.normal(size=(len(speakers), dim))) @ mixing + rng.normal(size=dim), speakers


def covariances(plda: Plda) -> tuple[np.ndarray, np.ndarray]:
    """W and B in the embeddings' own space."""
    back = np.linalg.inv(plda.transform)
    return back @ back.T, back @ np.diag(plda.psi) @ back.T


def log_gauss(x, mean, covariance):
    deviation = x - mean
    _, log_det = np.linalg.slogdet(covariance)
    return -0.5 * (len(x) * np.log(2 * np.pi) + log_det + deviation @ np.linalg.solve(covariance, deviation))


def joint_ratio(plda: Plda, enroll: np.ndarray, test: np.ndarray) -> float:
    """The definition: log p(x1..xn, x) - log p(x1..xn) - log p(x), the joint Gaussians of n + 1, n and 1 vectors."""
    within, between = covariances(plda)

    def log_p(rows):
        n = len(rows)
        covariance = np.kron(np.eye(n), within) + np.kron(np.ones((n, n)), between)
        return log_gauss(rows.reshape(-1), np.tile(plda.mean, n), covariance)

    return log_p(np.vstack([enroll, test[None]])) - log_p(enroll) - log_p(test[None])


@pytest.fixture(scope="module")
def plda():
    return train_plda(*draw())


@pytest.mark.parametrize("num_utts", range(1, 6))
def test_ratio_is_the_definition(plda, num_utts):
    rng = np.random.default_rng(num_utts)
    enroll = plda.mean + rng.normal(size=(7, num_utts, 6)) * 3
    test = plda.mean + rng.normal(size=(5, 6)) * 3
    means = project(plda, enroll.mean(axis=1), num_utts, normalize_length=False)
    scorer = PldaScorer(plda, means, project(plda, test, normalize_length=False), num_utts)
    expected = np.array([[joint_ratio(plda, e, t) for t in test] for e in enroll])
    np.testing.assert_allclose(scorer.tile(), expected, rtol=1e-8)


def test_mixed_numbers_of_utterances_pairs_and_tiles(plda):
    rng = np.random.default_rng(3)
    num_utts = np.array([3, 1, 3, 2, 10, 1])
    enroll, test = rng.normal(size=(6, 6)), rng.normal(size=(4, 6))
    whole = PldaScorer(plda, enroll, test, num_utts)
    alone = np.vstack([PldaScorer(plda, enroll[i : i + 1], test, n).tile() for i, n in enumerate(num_utts)])
    np.testing.assert_allclose(whole.tile(), alone, rtol=1e-12)
    left, right = rng.integers(0, 6, 50), rng.integers(0, 4, 50)
    np.testing.assert_allclose(whole.pairs(left, right), alone[left, right], rtol=1e-12)
    np.testing.assert_allclose(whole.tile(slice(1, 4), slice(2, 3)), alone[1:4, 2:3], rtol=1e-12)


def test_blocks_do_not_show(plda, monkeypatch):
    rng = np.random.default_rng(4)
    scorer = PldaScorer(plda, rng.normal(size=(9, 6)), rng.normal(size=(8, 6)))
    left, right = rng.integers(0, 9, 31), rng.integers(0, 8, 31)
    expected = scorer.pairs(left, right)
    monkeypatch.setattr("svtk.score.plda._BLOCK_VALUES", 12)
    np.testing.assert_array_equal(scorer.pairs(left, right), expected)


def kaldi_ratio(plda, enroll, n, test):
    """Plda::LogLikelihoodRatio, dimension by dimension, with scalars."""
    given = without = 0.0
    for u, t, psi in zip(enroll, test, plda.psi, strict=True):
        mean, variance = n * psi / (n * psi + 1) * u, 1 + psi / (n * psi + 1)
        given -= 0.5 * (np.log(2 * np.pi * variance) + (t - mean) ** 2 / variance)
        without -= 0.5 * (np.log(2 * np.pi * (1 + psi)) + t**2 / (1 + psi))
    return given - without


@pytest.mark.parametrize("options", [{}, {"simple_length_norm": True}, {"normalize_length": False}])
def test_projection_and_ratio_as_kaldi(plda, options):
    rng = np.random.default_rng(5)
    rows, num_utts = rng.normal(size=(4, 6)) * 2, np.array([1, 2, 5, 1])
    expected = []
    for row, n in zip(rows, num_utts, strict=True):
        u = plda.transform @ row - plda.transform @ plda.mean
        factor = np.sqrt(6 / sum(x * x / (psi + 1 / n) for x, psi in zip(u, plda.psi, strict=True)))
        if "simple_length_norm" in options:
            factor = np.sqrt(6) / np.linalg.norm(u)
        expected.append(u * (factor if options.get("normalize_length", True) else 1))
    projected = project(plda, rows, num_utts, **options)
    np.testing.assert_allclose(projected, expected, rtol=1e-10)
    scores = PldaScorer(plda, projected, projected, num_utts).tile()
    ratios = [[kaldi_ratio(plda, e, n, t) for t in projected] for e, n in zip(projected, num_utts, strict=True)]
    np.testing.assert_allclose(scores, ratios, rtol=1e-8)


def kaldi_training(rows, speakers, num_iters):
    """PldaEstimator, class by class with full inverses: mean, W and B."""
    dim, classes = rows.shape[1], [rows[speakers == s] for s in range(speakers.max() + 1)]
    means = [c.mean(axis=0) for c in classes]
    total_mean = np.mean(means, axis=0)
    scatter = sum((c - m).T @ (c - m) for c, m in zip(classes, means, strict=True))
    within, between = np.eye(dim), np.eye(dim)
    for _ in range(num_iters):
        within_stats, between_stats = scatter.copy(), np.zeros((dim, dim))
        within_count = float(len(rows) - len(classes))
        for c, mean in zip(classes, means, strict=True):
            n, m = len(c), mean - total_mean
            mixed = np.linalg.inv(np.linalg.inv(between) + n * np.linalg.inv(within))
            w = mixed @ (n * np.linalg.inv(within) @ m)
            between_stats += mixed + np.outer(w, w)
            within_stats += n * mixed + n * np.outer(m - w, m - w)
            within_count += 1
        within, between = within_stats / within_count, between_stats / len(classes)
    return total_mean, within, between


@pytest.mark.parametrize("num_iters", [1, 3, 10])
def test_training_as_kaldi(num_iters):
    rows, speakers = draw(seed=num_iters)
    mean, within, between = kaldi_training(rows, speakers, num_iters)
    trained = train_plda(rows, speakers, num_iters)
    np.testing.assert_allclose(trained.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(trained.transform @ within @ trained.transform.T, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(trained.transform @ between @ trained.transform.T, np.diag(trained.psi), atol=1e-8)
    assert (np.diff(trained.psi) <= 0).all()


def test_training_finds_the_model_that_drew_the_data():
    rows, speakers = draw(num_spks=3000, dim=3, between=3.0, seed=8)
    psi = train_plda(rows, speakers, 10).psi  # B = 9 W whatever the mixing
    np.testing.assert_allclose(psi, 9, rtol=0.12)


def test_ratios_are_log_likelihood_ratios():
    """On data drawn from the model, the Cllr of the scores is lower than that of any shift or scale of them."""
    rng = np.random.default_rng(9)
    plda = Plda(np.zeros(4), np.eye(4), np.array([3.0, 2.0, 1.0, 0.5]))
    spks = rng.normal(size=(4000, 4)) * np.sqrt(plda.psi)
    enroll, test = spks + rng.normal(size=spks.shape), spks + rng.normal(size=spks.shape)
    scorer = PldaScorer(plda, enroll, test)
    index = np.arange(4000)
    target, nontarget = scorer.pairs(index, index), scorer.pairs(index, np.roll(index, 1))

    def cllr(a, b):
        return np.logaddexp(0, -(a * target + b)).mean() + np.logaddexp(0, a * nontarget + b).mean()

    best = cllr(1, 0)
    assert all(best < cllr(a, b) for a, b in ((0.8, 0), (1.2, 0), (1, 0.2), (1, -0.2)))


def kaldi_adaptation(plda, rows, within_scale, between_scale, mean_diff_scale):
    """PldaUnsupervisedAdaptor::UpdatePlda, step by step: mean, W and B in the embeddings' space."""
    mean = rows.mean(axis=0)
    variance = rows.T @ rows / len(rows) - np.outer(mean, mean)
    variance += mean_diff_scale * np.outer(mean - plda.mean, mean - plda.mean)
    mod = np.array([row / np.sqrt(1 + p) for row, p in zip(plda.transform, plda.psi, strict=True)])
    s, p = np.linalg.eigh(mod @ variance @ mod.T)
    within, between = p.T @ np.diag(1 / (1 + plda.psi)) @ p, p.T @ np.diag(plda.psi / (1 + plda.psi)) @ p
    for i, value in enumerate(s):
        if value > 1:
            within[i, i] += (value - 1) * within_scale
            between[i, i] += (value - 1) * between_scale
    back = np.linalg.inv(p.T @ mod)
    return mean, back @ within @ back.T, back @ between @ back.T


@pytest.mark.parametrize("scales", [(0.3, 0.7, 1.0), (0.75, 0.25, 0.0)])
def test_adaptation_as_kaldi(plda, scales):
    rows = draw(seed=12)[0] * 1.3 + 1
    mean, within, between = kaldi_adaptation(plda, rows, *scales)
    names = ("within_covar_scale", "between_covar_scale", "mean_diff_scale")
    adapted = adapt_plda(plda, rows, **dict(zip(names, scales, strict=True)))
    np.testing.assert_allclose(adapted.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(adapted.transform @ within @ adapted.transform.T, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(adapted.transform @ between @ adapted.transform.T, np.diag(adapted.psi), atol=1e-8)


def test_data_that_varies_less_moves_only_the_mean(plda):
    rows = plda.mean + 1e-3 * np.random.default_rng(1).normal(size=(50, 6)) + 1e-3
    adapted = adapt_plda(plda, rows)
    np.testing.assert_allclose(adapted.psi, plda.psi, rtol=1e-9)
    for new, old in zip(covariances(adapted), covariances(plda), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-8)


def test_what_cannot_be_trained():
    rows, speakers = draw()
    with pytest.raises(DataError, match="singular.*--lda-dim"):  # nothing varies in the last dimension
        train_plda(np.column_stack([rows, np.zeros(len(rows))]), speakers, num_iters=5000)
    with pytest.raises(DataError, match=r"5 embedding\(s\) of 5 speaker"):
        train_plda(rows[:5], np.arange(5))
    with pytest.raises(DataError, match=r"of 1 speaker"):
        train_plda(rows[:5], np.zeros(5, dtype=int))


def test_what_does_not_fit(plda):
    with pytest.raises(DataError, match="found dimension 5; expected 6"):
        project(plda, np.ones((2, 5)))
    with pytest.raises(DataError, match="embedding 2 is zero, NaN or infinite when projected"):
        project(plda, np.array([np.ones(6), plda.mean]))
    with pytest.raises(DataError, match="embedding 'b' is"):
        project(plda, np.array([np.ones(6), [np.nan] * 6]), normalize_length=False, keys=["a", "b"])
    with pytest.raises(DataError, match=r"found shape \(0, 6\)"):
        adapt_plda(plda, np.ones((0, 6)))
    with pytest.raises(DataError, match="below 1"):
        PldaScorer(plda, np.ones((2, 6)), np.ones((1, 6)), np.array([1, 0]))
