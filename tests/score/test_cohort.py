"""Cohort statistics against a float64 transcription; exact whatever the tiles, threads and guesses."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.score import cohort as module
from svtk.score.cohort import Cohort, tile_width, top_scores


def transcription(rows, cohort, top_n, mean=0.0):
    """Mean and population standard deviation of each row's top_n highest cosines, in float64."""
    result = []
    for row in rows.astype(np.float64) - mean:
        others = cohort.astype(np.float64) - mean
        cosines = others @ row / np.linalg.norm(row) / np.linalg.norm(others, axis=1)
        best = np.array(sorted(cosines, reverse=True)[:top_n])
        result.append((best.mean(), np.sqrt(((best - best.mean()) ** 2).mean())))
    return np.array(result)


def draw(num_rows, dim=16, seed=0):
    return np.random.default_rng(seed).normal(size=(num_rows, dim)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_utts", "num_cohort", "top_n"),
    [(3, 20, 5), (40, 400, 300), (5, 4000, 300), (2, 9000, 300), (2, 300, 300), (1, 9000, 5000), (2, 8193, 2)],
)
def test_top_n_as_the_formula(num_utts, num_cohort, top_n):
    rows, cohort = draw(num_utts), 3 * draw(num_cohort, seed=1) + 0.3
    statistics = Cohort(cohort, top_n).statistics(rows)
    np.testing.assert_allclose(statistics, transcription(rows, cohort, top_n), atol=1e-6)


@pytest.mark.parametrize("top_n", [10, None])
def test_the_mean_goes_first(top_n):
    rows, cohort, mean = draw(4), draw(50, seed=1), np.linspace(-1, 1, 16)
    statistics = Cohort(cohort, top_n, mean=mean).statistics(rows)
    np.testing.assert_allclose(statistics, transcription(rows, cohort, top_n or 50, mean), atol=1e-6)


def test_the_whole_cohort_needs_no_products():
    rows, cohort = draw(30), draw(200, seed=1) + 0.5
    np.testing.assert_allclose(Cohort(cohort, None).statistics(rows), transcription(rows, cohort, 200), atol=1e-12)


def top(rows, cohort, top_n):
    """top_scores, for rows whose products are exact in float32."""
    buffer = np.empty(len(rows) * tile_width(top_n), dtype=np.float32)
    return top_scores(rows, cohort, top_n, buffer)


@pytest.mark.parametrize("spread", [-0.9, 0.0, 4.0])
@pytest.mark.parametrize("width", [900, 3072, 20_000])
def test_selection_is_exact_however_wrong_the_guess(monkeypatch, spread, width):
    """Integers: products are exact and full of ties, whatever the tile; a guess far too high falls back."""
    monkeypatch.setattr(module, "_SPREAD", spread)
    monkeypatch.setattr(module, "_SAMPLE", 60)
    monkeypatch.setattr(module, "_COHORT", width)
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, 4, (70, 4)).astype(np.float32)
    cohort = np.sort(rng.integers(-3, 4, (7000, 4)).astype(np.float32), axis=0)  # the sample is the lowest
    for order in (cohort, cohort[::-1].copy()):  # ... or the highest
        expected = np.sort(rows @ order.T, axis=1)[:, -100:]
        np.testing.assert_array_equal(top(rows, order, 100), expected)


def test_tiles_and_threads_do_not_show(monkeypatch):
    rows, cohort = draw(150, 8), draw(7000, 8, seed=1)
    expected = Cohort(cohort, 50).statistics(rows)
    for utts, width, chunk, threads in ((64, 7000, 64, "1"), (147, 1000, 7, "4"), (32, 100_000, 1, "2")):
        monkeypatch.setattr(module, "_UTTS", utts)
        monkeypatch.setattr(module, "_COHORT", width)
        monkeypatch.setattr(module, "_CHUNK", chunk)
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        np.testing.assert_allclose(Cohort(cohort, 50).statistics(rows), expected, atol=1e-7)


def test_an_utterance_depends_on_no_other():
    rows, cohort = draw(40), draw(7000, seed=1)
    judge = Cohort(cohort, 50)
    alone = np.vstack([judge.statistics(rows[i : i + 1], places=np.array([i])) for i in range(40)])
    np.testing.assert_array_equal(judge.statistics(rows), alone)
    elsewhere = np.vstack([judge.statistics(rows[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(elsewhere, alone, atol=1e-7)


def test_the_order_of_the_cohort_does_not_matter():
    rows, cohort = draw(5), draw(4000, seed=1)
    expected = Cohort(cohort, 100).statistics(rows)
    np.testing.assert_allclose(Cohort(cohort[::-1], 100).statistics(rows), expected, atol=1e-7)


def test_memory_does_not_grow_with_utterances_times_cohort(monkeypatch):
    """No array of that size: the largest product asked for is a tile."""
    monkeypatch.setattr(module, "_UTTS", 16)
    monkeypatch.setattr(module, "_CHUNK", 16)
    monkeypatch.setattr(module, "_COHORT", 128)
    sizes, matmul = [], np.matmul

    def watched(left, right, out):
        sizes.append(out.size)
        return matmul(left, right, out=out)

    monkeypatch.setattr(module.np, "matmul", watched)
    Cohort(draw(1000, seed=1), 20).statistics(draw(100))
    assert max(sizes) == 16 * 128 and len(sizes) == 7 * 8


@pytest.mark.parametrize(
    ("cohort", "top_n", "message"),
    [
        (draw(5), 6, "C: the cohort is too small; found 5; expected 6. To mend: give a larger cohort or a smaller"),
        (draw(1), None, "C: the cohort is too small; found 1; expected 2"),
        (np.zeros((5, 3), np.float32), 2, "C: embedding 'k0' is zero, NaN or infinite"),
        (np.full((5, 3), np.nan, np.float32), None, "C: embedding 'k0' is zero, NaN"),
    ],
)
def test_cohorts_that_cannot_be(cohort, top_n, message):
    with pytest.raises(DataError, match=message):
        Cohort(cohort, top_n, name="C", keys=[f"k{i}" for i in range(len(cohort))])


@pytest.mark.parametrize("top_n", [3, None])
def test_no_spread(top_n):
    cohort = np.ones((5, 3), np.float32) * np.arange(1, 6)[:, None]  # one direction, in all lengths
    with pytest.raises(DataError, match="C: the scores of 'u1' against the cohort are all alike"):
        Cohort(cohort, top_n, name="C").statistics(np.eye(3)[[0]], ["u1"])


def test_rows_that_cannot_be():
    judge = Cohort(draw(9), 3, mean=np.ones(16))
    with pytest.raises(DataError, match="T: embedding 'b' is zero, NaN or infinite after the mean was subtracted"):
        judge.statistics(np.vstack([draw(1), np.ones((1, 16))]), ["a", "b"], "T")


@pytest.mark.parametrize("places", [[], [0], [5, 517, 1029], [511, 512, 0, 513, 1024, 7], list(range(1300))])
def test_every_row_has_its_place(monkeypatch, places):
    monkeypatch.setattr(module, "_UTTS", 512)
    places = np.array(places, dtype=np.int64)
    seen = []
    for chosen, slots in module._tiles(places):
        assert len(set(slots.tolist())) == len(slots) and (slots == places[chosen] % 512).all()
        seen += chosen.tolist()
    assert sorted(seen) == list(range(len(places)))
    assert len(module._tiles(places)) == max(np.bincount(places % 512), default=0)
