"""Models and methods against the definition: every pair of utterances scored, then averaged or the highest taken."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.plda import Plda, write_plda
from svtk.kaldi.tables import TableWriter
from svtk.kaldi.trials import read_scores
from svtk.score.average import average_embeddings
from svtk.score.plda import PldaScorer, project
from svtk.score.scorers import Method
from svtk.score.sides import Groups
from svtk.score.trial_scores import Policies, score_trials

DIM, NUM = 6, 24
PLDA = Plda(
    np.full(DIM, 0.2), np.random.default_rng(7).normal(size=(DIM, DIM)), np.array([9.0, 4.0, 2.0, 1.0, 0.5, 0.0])
)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Table e of 24 embeddings, models of 1 to 4 of them (one in two), all pairs of models, and of utterances."""
    monkeypatch.chdir(tmp_path)
    rows = {f"u{i}": row for i, row in enumerate(np.random.default_rng(0).normal(size=(NUM, DIM)).astype(np.float32))}
    with TableWriter("ark:e") as writer:
        for key, row in rows.items():
            writer.write(key, row)
    models = {f"m{i}": [f"u{(i * 3 + j * 5) % NUM}" for j in range(i % 4 + 1)] for i in range(7)}
    Path("spk2utt").write_text("".join(f"{name} {' '.join(utts)}\n" for name, utts in models.items()))
    write_plda("plda", PLDA)
    return {key: row.astype(np.float64) for key, row in rows.items()}, models


def trials(left, right) -> list[tuple[str, str]]:
    pairs = list(product(left, right))
    Path("trials").write_text("".join(f"{e} {t}\n" for e, t in pairs))
    return pairs


def scored(method: Method, **options) -> np.ndarray:
    score_trials("trials", "ark:e", "ark:e", "scores", method, **options)
    return read_scores("scores").scores


def unit(row):
    return row / np.linalg.norm(row)


def pair_score(name: str, u: np.ndarray, v: np.ndarray, num_utts: int = 1) -> float:
    """One pair of embeddings, scored by the definition of each method."""
    if name == "inner-product":
        return u @ v
    if name == "cosine":
        return unit(u) @ unit(v)
    left, right = (unit(row)[None] * np.sqrt(DIM) for row in (u, v))
    return PldaScorer(PLDA, project(PLDA, left, num_utts), project(PLDA, right), num_utts).tile().item()


def method_of(name: str, mode: str) -> Method:
    return Method(name, mode, plda="plda" if name == "plda" else None)


@pytest.mark.parametrize("name", ["cosine", "inner-product", "plda"])
@pytest.mark.parametrize("sides", ["enroll", "test", "both"])
@pytest.mark.parametrize(("mode", "reduce"), [("score-mean", np.mean), ("max", np.max)])
def test_models_by_the_scores_of_all_pairs(place, name, sides, mode, reduce):
    rows, models = place
    alone = {key: [key] for key in rows}
    left, right = (models if sides in (side, "both") else alone for side in ("enroll", "test"))
    options = {f"{side}_spk2utt": "spk2utt" for side in ("enroll", "test") if sides in (side, "both")}
    pairs = trials(left, right)
    expected = [reduce([pair_score(name, rows[u], rows[v]) for u, v in product(left[e], right[t])]) for e, t in pairs]
    np.testing.assert_allclose(scored(method_of(name, mode), **options), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["cosine", "inner-product", "plda"])
@pytest.mark.parametrize("sides", ["enroll", "test", "both"])
def test_models_by_the_mean_of_their_embeddings(place, name, sides):
    rows, models = place
    alone = {key: [key] for key in rows}
    left, right = (models if sides in (side, "both") else alone for side in ("enroll", "test"))
    options = {f"{side}_spk2utt": "spk2utt" for side in ("enroll", "test") if sides in (side, "both")}
    pairs = trials(left, right)

    def mean(utts):
        return np.mean([rows[utt] for utt in utts], axis=0)

    expected = [pair_score(name, mean(left[e]), mean(right[t]), len(left[e])) for e, t in pairs]
    np.testing.assert_allclose(scored(method_of(name, "mean"), **options), expected, rtol=1e-5, atol=2e-6)


def test_means_made_before_are_scored_alike(place):
    """average-embeddings and --num-utts, as in Kaldi's recipes, and --enroll-spk2utt: one and the same."""
    rows, models = place
    trials(models, rows)
    average_embeddings("spk2utt", "ark:e", "ark:m", "ark,t:num_utts")
    for name in ("cosine", "plda"):
        expected = scored(method_of(name, "mean"), enroll_spk2utt="spk2utt")
        method = Method(
            name, plda="plda" if name == "plda" else None, num_utts="ark:num_utts" if name == "plda" else None
        )
        score_trials("trials", "ark:m", "ark:e", "other", method)
        np.testing.assert_array_equal(read_scores("other").scores, expected)
    Path("num_utts").write_text("m0 1\nm1 0\n")
    method = Method("plda", plda="plda", num_utts="ark:num_utts")
    with pytest.raises(DataError, match="num_utts: 'm1' has a number of utterances below 1; found 0"):
        score_trials("trials", "ark:m", "ark:e", "other", method)
    Path("num_utts").write_text("m0 1\nm1 3\n")
    with pytest.raises(DataError, match="'m2' has no number of utterances in ark:num_utts"):
        score_trials("trials", "ark:m", "ark:e", "other", method)
    trials(["m0", "m1"], rows)
    score_trials("trials", "ark:m", "ark:e", "other", method)


@pytest.mark.parametrize("length_norm", [True, False])
@pytest.mark.parametrize("in_space", ["covariance", "simple", "none"])
def test_length_normalisation_of_plda(place, length_norm, in_space):
    rows, _ = place
    pairs = trials(rows, ["u3", "u5"])
    table = np.stack(list(rows.values()))
    if length_norm:
        table *= np.sqrt(DIM) / np.linalg.norm(table, axis=1, keepdims=True)
    points = project(PLDA, table, normalize_length=in_space != "none", simple_length_norm=in_space == "simple")
    expected = PldaScorer(PLDA, points, points[[3, 5]]).tile().ravel()
    method = Method("plda", plda="plda", length_norm=length_norm, plda_length_norm=in_space)
    assert len(scored(method)) == len(pairs)
    np.testing.assert_allclose(scored(method), expected, rtol=1e-5, atol=2e-6)


def test_the_papers_protocol(place):
    """The inner product of means of ten unit vectors a side is the mean of the 100 cosines of their pairs."""
    rng = np.random.default_rng(1)
    crops = {key: [unit(rng.normal(size=DIM)) for _ in range(10)] for key in ("a", "b", "c")}
    with TableWriter("ark:crops") as writer:  # what extract-embeddings --windows crops writes
        for key, rows in crops.items():
            writer.write(key, np.mean(rows, axis=0).astype(np.float32))
    pairs = trials(crops, crops)
    score_trials("trials", "ark:crops", "ark:crops", "scores", Method("inner-product"))
    expected = [np.mean([u @ v for u, v in product(crops[e], crops[t])]) for e, t in pairs]
    np.testing.assert_allclose(read_scores("scores").scores, expected, atol=1e-6)


def test_utterances_of_models_that_are_missing(place, caplog):
    rows, _ = place
    Path("spk2utt").write_text("m u1 gone u2\nn gone2\n")
    Path("trials").write_text("m u7\nn u7\n")
    with pytest.raises(
        DataError, match=r"spk2utt:1: 2 utterance\(s\) are not in ark:e; found 'gone', 'gone2'. To mend"
    ):
        scored(Method(), enroll_spk2utt="spk2utt")
    scores = scored(Method(), enroll_spk2utt="spk2utt", policies=Policies(missing="skip", missing_list="missing"))
    assert scores == pytest.approx([pair_score("cosine", rows["u1"] + rows["u2"], rows["u7"])], abs=1e-6)
    assert Path("missing").read_text() == "n enroll\n"
    assert "2 utterance(s) are not in ark:e and are left out of their models: 'gone', 'gone2'" in caplog.text
    Path("spk2utt").write_text("m gone\n")
    with pytest.raises(DataError, match="no utterance of any model is in ark:e"):
        scored(Method(), enroll_spk2utt="spk2utt", policies=Policies(missing="skip"))


def test_a_plda_of_another_dimension(place):
    trials(["u0"], ["u1"])
    write_plda("plda", Plda(np.zeros(5), np.eye(5), np.ones(5)))
    with pytest.raises(DataError, match="the embeddings do not fit the PLDA; found dimension 6; expected 5"):
        scored(Method("plda", plda="plda"))


def test_groups(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    lists = [[0], [8, 1], [3, 3, 4, 5], [2], [7, 6]]
    groups = Groups(np.concatenate(lists), np.cumsum([0, *map(len, lists)]))
    expected = np.stack([rows[found].mean(axis=0, dtype=np.float64).astype(np.float32) for found in lists])
    for step in (1, 3, 100):
        monkeypatch.setattr("svtk.score.sides._ROWS", step)
        np.testing.assert_array_equal(groups.means(rows), expected)
        np.testing.assert_array_equal(groups.means(rows[:, 0]), expected[:, 0])
    assert groups.any(np.arange(9) == 3).tolist() == [-1, -1, 3, -1, -1]
