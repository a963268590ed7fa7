"""Labels joined to scores, by order and by key."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.trials import Scores, Trials
from svtk.score.labels import join_labels

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
