"""Draws of speakers against trials literally repeated, and against what intervals promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.score import bootstrap
from svtk.score.bootstrap import ResampledTrials, TrialSpeakers, det_band, draw_speakers, interval, replicate_figures
from svtk.score.metrics import compute_metrics, figure_names
from svtk.score.operating_points import Cost, equal_error_rate, operating_points

COSTS = (Cost(0.5), Cost(0.05, 10, 1))


def trials_of(rng: np.random.Generator, num_spks: int, per_spk: int, gap: float, spread: float, decimals: int = 6):
    """All pairs of utterances: scores that share both sides' speakers' effects, labels, speakers."""
    spk = np.repeat(np.arange(num_spks), per_spk).astype(np.int32)
    enroll, test = np.triu_indices(len(spk), 1)
    labels = spk[enroll] == spk[test]
    effect = spread * rng.normal(size=num_spks)
    noise = rng.normal(size=len(labels))
    scores = noise + gap * labels + effect[spk[enroll]] + effect[spk[test]]
    return scores.round(decimals), labels, TrialSpeakers(spk[enroll], spk[test], num_spks)


def repeated(scores: np.ndarray, labels: np.ndarray, speakers: TrialSpeakers, draw: np.ndarray):
    """Every drawn speaker as a person of its own: the trials of all their utterances."""
    kept = []
    copies = [(spk, copy) for spk, number in enumerate(draw) for copy in range(number)]
    for (s, copy), (t, other) in itertools.product(copies, copies):
        both = (speakers.enroll == s) & (speakers.test == t)
        kept += np.flatnonzero(both & (labels if (s, copy) == (t, other) else ~labels)).tolist()
    return scores[kept], labels[kept]


@pytest.mark.parametrize("decimals", [0, 6])
@pytest.mark.parametrize("piece", [3, 1 << 18])
def test_a_draw_is_what_repeated_trials_would_be(monkeypatch, decimals, piece):
    monkeypatch.setattr(bootstrap, "_PIECE", piece)
    scores, labels, speakers = trials_of(np.random.default_rng(1), 5, 3, 2, 0.5, decimals)
    trials = ResampledTrials(scores, labels, speakers, COSTS)
    draws = draw_speakers(5, 20, seed=3)
    assert (draws.sum(axis=1) == 5).all()
    found = replicate_figures(trials, draws)
    for draw, figures in zip(draws, found, strict=True):
        scores_again, labels_again = repeated(scores, labels, speakers, draw)
        if labels_again.all():
            assert np.isnan(figures).all()
        else:
            expected = compute_metrics(scores_again, labels_again, COSTS).figures()
            np.testing.assert_allclose(figures, expected, rtol=1e-9, atol=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([0, 1]))
def test_every_speaker_once_is_the_data_itself(seed, decimals):
    scores, labels, speakers = trials_of(np.random.default_rng(seed), 4, 2, 1, 1, decimals)
    trials = ResampledTrials(scores, labels, speakers, COSTS)
    expected = compute_metrics(scores, labels, COSTS).figures()
    np.testing.assert_allclose(trials.figures(np.ones(4, np.uint16)), expected, rtol=1e-12)


def test_an_infinite_score_counts_where_it_is_drawn():
    scores = np.array([-np.inf, 2, 3, 0, 1, 1.5])
    labels = np.array([True, True, True, False, False, False])
    spks = TrialSpeakers(np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2]), 3)
    cllr = figure_names(COSTS).index("cllr")
    trials = ResampledTrials(scores, labels, spks, COSTS)
    assert trials.figures(np.array([1, 1, 1]))[cllr] == np.inf
    assert 0 < trials.figures(np.array([0, 2, 1]))[cllr] < 2
    assert np.isnan(trials.figures(np.array([0, 0, 3]))).all()  # no nontarget trial is left


def test_the_seed_decides():
    assert np.array_equal(draw_speakers(9, 5, seed=1), draw_speakers(9, 5, seed=1))
    assert not np.array_equal(draw_speakers(9, 5, seed=1), draw_speakers(9, 5, seed=2))
    with pytest.raises(DataError, match="too few speakers"):
        draw_speakers(2)


def test_intervals_by_hand():
    values = np.stack([np.arange(1.0, 101), np.full(100, np.nan), np.where(np.arange(100) < 97, 1, np.inf)], axis=1)
    assert interval(values, 0.9)[:, 0].tolist() == [5, 95]
    assert np.isnan(interval(values, 0.9)[:, 1]).all()
    assert interval(values, 0.9)[:, 2].tolist() == [1, 1] and interval(values, 0.95)[:, 2].tolist() == [1, np.inf]


def test_speakers_cover_where_trials_do_not():
    """The EER of many speakers lies in most 90 % intervals from 25 of them, if speakers are drawn; else in half."""
    rng = np.random.default_rng(5)
    truth = compute_metrics(*trials_of(rng, 200, 6, 3, 1)[:2], COSTS).eer
    hits = {"speakers": 0, "trials": 0}
    for seed in range(50):
        scores, labels, speakers = trials_of(rng, 25, 6, 3, 1)
        of_speakers = replicate_figures(ResampledTrials(scores, labels, speakers, COSTS), draw_speakers(25, 60, seed))
        of_trials = []
        for _ in range(60):
            places = rng.integers(0, len(scores), len(scores))
            of_trials.append(equal_error_rate(operating_points(scores[places], labels[places]))[0])
        for name, eers in (("speakers", of_speakers[:, 0]), ("trials", np.array(of_trials))):
            low, high = interval(eers, 0.9)
            hits[name] += bool(low <= truth <= high)
    assert hits["speakers"] >= 39, hits  # 45 are 90 %; percentiles of few speakers are somewhat too narrow
    assert hits["trials"] <= 30, hits


def test_a_band_holds_the_curve_and_narrows_with_speakers():
    rng, grid = np.random.default_rng(6), np.array([0.01, 0.1, 0.5])
    widths = []
    for num_spks in (20, 80):
        scores, labels, speakers = trials_of(rng, num_spks, 3, 2, 0.5)
        low, high = det_band(ResampledTrials(scores, labels, speakers), draw_speakers(num_spks, 200), grid)
        points = operating_points(scores, labels)
        miss = np.interp(grid, points.false_alarm[::-1], points.miss[::-1])
        assert (low <= miss).all() and (miss <= high).all() and (np.diff(low) <= 0).all()
        widths.append(high - low)
    assert (widths[1][:2] < widths[0][:2]).all()
