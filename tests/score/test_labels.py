"""Labels joined to scores, by order and by key."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.kaldi.trials import Scores, Trials
from svtk.score import labels as module
from svtk.score.labels import join_labels, read_labelled

TRIALS = Trials(["a", "a", "b"], ["x", "y", "x"], np.array([True, False, False]))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_labels_follow_the_keys(order):
    scores = Scores([TRIALS.enroll[i] for i in order], [TRIALS.test[i] for i in order], np.zeros(3))
    assert join_labels(scores, TRIALS).tolist() == TRIALS.labels[order].tolist()


def test_labels_are_joined_by_key_when_only_one_side_agrees():
    scores = Scores(["a", "a", "b"], ["y", "x", "x"], np.zeros(3))
    assert join_labels(scores, TRIALS).tolist() == [False, True, False]


def test_a_score_without_trial_and_the_reverse(tmp_path):
    scores = Scores(["a", "a", "q", "b"], ["x", "y", "x", "x"], np.zeros(4))
    with pytest.raises(DataError, match=r"^s:3: 1 score\(s\) without a trial in t; found 'q x'"):
        join_labels(scores, TRIALS, "s", "t")
    with pytest.raises(DataError, match=r"^t:2: 2 trial\(s\) without a score in s; found 'a y', 'b x'"):
        join_labels(Scores(["a"], ["x"], np.zeros(1)), TRIALS, "s", "t")


def test_a_pair_scored_twice_but_listed_once_is_an_error():
    scores = Scores(["a", "a", "b", "a"], ["x", "y", "x", "x"], np.zeros(4))
    with pytest.raises(DataError, match="without a trial"):
        join_labels(scores, TRIALS)


def test_contradicting_labels_are_an_error_where_the_key_decides():
    trials = Trials(["a", "a"], ["x", "x"], np.array([True, False]))
    scores = Scores(["a", "a"], ["x", "x"], np.arange(2.0))
    assert join_labels(scores, trials).tolist() == [True, False]  # the order decides
    trials = Trials(["a", "b", "a"], ["x", "x", "x"], np.array([True, True, False]))
    with pytest.raises(DataError, match="t:3: a pair is both target and nontarget"):
        join_labels(Scores(["b", "a", "a"], ["x", "x", "x"], np.zeros(3)), trials, "s", "t")


def test_unlabelled_trials_are_an_error():
    with pytest.raises(DataError, match="no labels"):
        join_labels(Scores(["a"], ["x"], np.zeros(1)), Trials(["a"], ["x"], None))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(scores: list[tuple[str, str, float]], trials: list[tuple[str, str, bool]]) -> None:
    Path("scores").write_text("".join(f"{e} {t} {score}\n" for e, t, score in scores))
    Path("trials").write_text("".join(f"{e} {t} {'target' if label else 'nontarget'}\n" for e, t, label in trials))


def rows(found) -> list[tuple]:
    sides = ([found.keys[number] for number in side.tolist()] for side in (found.enroll, found.test))
    return list(zip(*sides, found.scores.tolist(), found.labels.tolist(), strict=True))


SOME = [(f"e{i % 9}", f"t{i // 9}", i % 9 == i // 9) for i in range(81)]


@pytest.mark.parametrize("size", [64, 1 << 24])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_files_in_any_order_and_blocks_of_any_size(place, monkeypatch, size, seed):
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", size)
    order = range(81) if seed is None else np.random.default_rng(seed).permutation(81).tolist()
    write([(*SOME[i][:2], float(i)) for i in order], SOME)
    matched = []
    monkeypatch.setattr(module, "_matched", lambda *args, of=module._matched: matched.append(args) or of(*args))
    found = read_labelled("scores", "trials")
    assert (len(matched) == 0) == (seed is None)  # side by side where the order is the same
    assert found.scores.tolist() == [float(i) for i in order]
    assert found.labels.tolist() == [SOME[i][2] for i in order]
    assert rows(read_labelled("scores", "trials", with_keys=True)) == [
        (*SOME[i][:2], float(i), SOME[i][2]) for i in order
    ]
    assert np.array_equal(read_labelled("cat scores |", "cat trials |").labels, found.labels)


@pytest.mark.parametrize("cut", ["scores", "trials"])
def test_a_file_that_ends_early_is_not_taken_for_whole(place, monkeypatch, cut):
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 64)
    scores, trials = [(*pair[:2], 0.5) for pair in SOME], SOME
    write(scores[:50] if cut == "scores" else scores, trials[:50] if cut == "trials" else trials)
    with pytest.raises(DataError, match=rf"^{cut if cut == 'trials' else 'trials'}|scores:51: 31"):
        read_labelled("scores", "trials")
    found = read_labelled("scores", "trials", missing="skip")
    assert len(found) == 50 and {found.num_unlisted, found.num_unscored} == {0, 31}


pairs = st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))


@given(st.lists(pairs, min_size=1, max_size=8), st.lists(pairs, min_size=1, max_size=8))
def test_surplus_is_counted_as_pairs_are(scored, listed):
    scores = Scores([e for e, _ in scored], [t for _, t in scored], np.zeros(len(scored)))
    trials = Trials([e for e, _ in listed], [t for _, t in listed], np.array([e == "a" for e, _ in listed]))
    surplus, lack = Counter(scored) - Counter(listed), Counter(listed) - Counter(scored)
    if not surplus and not lack:
        assert join_labels(scores, trials).tolist() == [e == "a" for e, _ in scored]
        return
    path, many, where = ("s", surplus, scored) if surplus else ("t", lack, listed)
    with pytest.raises(DataError) as caught:
        join_labels(scores, trials, "s", "t")
    assert (caught.value.path, caught.value.line) == (path, 1 + min(where.index(pair) for pair in many))
    assert caught.value.what.startswith(f"{many.total()} ")


def test_keys_that_scores_do_not_have(place):
    Path("scores").write_text("1 target\n0 nontarget\n")
    assert read_labelled("scores").labels.tolist() == [True, False]
    with pytest.raises(DataError, match="^scores: the scores have no keys"):
        read_labelled("scores", with_keys=True)
    Path("scores").write_text("a b 1 target\nc d 0 nontarget\n")
    assert rows(read_labelled("scores", with_keys=True)) == [("a", "b", 1, True), ("c", "d", 0, False)]
