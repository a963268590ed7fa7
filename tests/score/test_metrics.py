"""EER and minDCF against hand-worked cases and exact enumeration of every threshold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.kaldi.trials import Scores, Trials
from svtk.score.metrics import (
    compute_metrics,
    equal_error_rate,
    join_labels,
    min_dcf,
    operating_points,
    score_file_metrics,
)


def enumerate_points(scores: list[float], labels: list[bool]) -> list[tuple[Fraction, Fraction]]:
    """(miss, false alarm) of 'accept scores >= threshold' at every threshold, exactly; ascending threshold."""
    targets = [s for s, x in zip(scores, labels, strict=True) if x]
    nontargets = [s for s, x in zip(scores, labels, strict=True) if not x]
    return [
        (
            Fraction(sum(s < threshold for s in targets), len(targets)),
            Fraction(sum(s >= threshold for s in nontargets), len(nontargets)),
        )
        for threshold in [*sorted(set(scores)), float("inf")]
    ]


def exact_eer(points: list[tuple[Fraction, Fraction]]) -> Fraction:
    """Where the straight lines between neighbouring points cross miss = false alarm."""
    for (miss0, fa0), (miss1, fa1) in zip(points, points[1:], strict=False):
        if miss1 >= fa1:
            part = (fa0 - miss0) / ((fa0 - miss0) + (miss1 - fa1))
            return miss0 + part * (miss1 - miss0)
    raise AssertionError("the rates never cross")


def exact_min_dcf(points: list[tuple[Fraction, Fraction]], p: Fraction) -> Fraction:
    return min(p * miss + (1 - p) * fa for miss, fa in points) / min(p, 1 - p)


@pytest.mark.parametrize(
    ("targets", "nontargets", "eer"),
    [
        ([3, 4], [1, 2], 0.0),  # separated
        ([1, 2], [3, 4], 1.0),  # separated the wrong way round
        ([1, 1, 1], [1, 1], 0.5),  # one score for all: halfway between accept all and reject all
        ([2, 4], [1, 3], 0.5),  # threshold 3 misses one of two, accepts one of two
        ([0, 3, 4, 5], [1, 2, 2.5, 6], 0.25),
        ([2, 3, 4], [1, 2], 1 / 5),  # crossing inside the tie at 2: (0, 1/2) to (1/3, 0)
        ([2, 3], [0, 1, 2], 1 / 5),  # (0, 1/3) to (1/2, 0)
    ],
)
def test_eer_worked_by_hand(targets, nontargets, eer):
    labels = np.array([True] * len(targets) + [False] * len(nontargets))
    assert compute_metrics(np.array(targets + nontargets), labels).eer == pytest.approx(eer, abs=1e-15)


def test_min_dcf_worked_by_hand():
    # Accept >= 3: miss 1/4, false alarm 1/10; accept >= 4: miss 1/2, false alarm 0.
    scores = np.array([2, 3, 5, 6] + [3] + [0] * 9, dtype=float)
    labels = np.array([True] * 4 + [False] * 10)
    points = operating_points(scores, labels)
    assert min_dcf(points, 0.05) == pytest.approx(0.5)  # min(0.25 + 19 x 0.1, 0.5 + 0)
    assert min_dcf(points, 0.5) == pytest.approx(0.1)  # accept >= 2: 0 + 0.1
    assert min_dcf(points, 0.9) == pytest.approx(0.1)  # 9 x miss + false alarm


def test_useless_scores_cost_what_no_scores_cost():
    metrics = compute_metrics(np.zeros(10), np.arange(10) < 3, [0.01, 0.5, 0.99])
    assert metrics.min_dcf == {"0.01": 1.0, "0.5": 1.0, "0.99": 1.0}


trial_sets = st.lists(
    st.tuples(st.integers(-4, 4), st.booleans()),  # few distinct scores: many ties
    min_size=2,
    max_size=40,
).filter(lambda rows: len({label for _, label in rows}) == 2)


@given(trial_sets, st.fractions(Fraction(1, 100), Fraction(99, 100)))
def test_agrees_with_enumeration_of_all_thresholds(rows, p):
    scores, labels = [float(s) for s, _ in rows], [x for _, x in rows]
    exact = enumerate_points(scores, labels)
    points = operating_points(np.array(scores), np.array(labels))
    assert points.miss.tolist() == [float(miss) for miss, _ in exact]
    assert points.false_alarm.tolist() == [float(fa) for _, fa in exact]
    eer, threshold = equal_error_rate(points)
    assert eer == pytest.approx(float(exact_eer(exact)), abs=1e-12)
    assert threshold in scores
    assert min_dcf(points, float(p)) == pytest.approx(float(exact_min_dcf(exact, p)), abs=1e-12)


@given(
    st.lists(st.tuples(st.floats(-1, 1, width=32), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({label for _, label in rows}) == 2
    ),
    st.randoms(use_true_random=False),
)
def test_order_and_monotone_maps_change_nothing(rows, random):
    shuffled = random.sample(rows, len(rows))
    metrics = compute_metrics(np.array([s for s, _ in rows]), np.array([x for _, x in rows]))
    other = compute_metrics(np.array([8 * s for s, _ in shuffled]), np.array([x for _, x in shuffled]))
    assert (metrics.eer, metrics.min_dcf) == (other.eer, other.min_dcf)
    assert other.eer_threshold == 8 * metrics.eer_threshold


def test_threshold_realises_a_rate_that_is_met_exactly():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])
    metrics = compute_metrics(scores, labels)
    accepted = scores >= metrics.eer_threshold
    assert np.mean(~accepted[labels]) == np.mean(accepted[~labels]) == metrics.eer == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(bad):
    with pytest.raises(DataError, match="score 2 is not finite"):
        operating_points(np.array([0.0, bad]), np.array([True, False]))


@pytest.mark.parametrize(("label", "absent"), [(True, "nontarget"), (False, "target")])
def test_one_class_alone_is_an_error(label, absent):
    with pytest.raises(DataError, match=f"no {absent} trials"):
        operating_points(np.arange(3.0), np.full(3, label))


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 2.0])
def test_p_target_must_be_a_probability(p):
    with pytest.raises(DataError, match="p_target"):
        min_dcf(operating_points(np.arange(2.0), np.array([False, True])), p)


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


def test_files_name_their_lines(tmp_path):
    (tmp_path / "t").write_text("a x target\na y nontarget\n")
    (tmp_path / "s").write_text("a x 1\na y nan\n")
    with pytest.raises(DataError, match=r"s:2: a score is not finite; found nan"):
        score_file_metrics(tmp_path / "s", tmp_path / "t")
    (tmp_path / "t").write_text("a x target\na y target\n")
    (tmp_path / "s").write_text("a x 1\na y 2\n")
    with pytest.raises(DataError, match=r"t: no nontarget trials"):
        score_file_metrics(tmp_path / "s", tmp_path / "t")
