"""All figures against hand-worked cases, exact enumeration of every threshold, and scikit-learn."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.score.metrics import cllr, compute_metrics
from svtk.score.operating_points import (
    Cells,
    Cost,
    act_dcf,
    convex_hull,
    crossing,
    equal_error_rate,
    min_dcf,
    operating_points,
    thin,
)


def enumerate_points(scores: list[float], labels: list[bool]) -> list[tuple[Fraction, Fraction]]:
    """(miss, false alarm) of 'accept scores >= threshold' at every threshold, exactly, then of rejecting all."""
    targets = [s for s, x in zip(scores, labels, strict=True) if x]
    nontargets = [s for s, x in zip(scores, labels, strict=True) if not x]
    return [
        (
            Fraction(sum(s < threshold for s in targets), len(targets)),
            Fraction(sum(s >= threshold for s in nontargets), len(nontargets)),
        )
        for threshold in sorted(set(scores))
    ] + [(Fraction(1), Fraction(0))]


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
    metrics = compute_metrics(np.zeros(10), np.arange(10) < 3, [Cost(0.01), Cost(0.5), Cost(0.99)])
    assert metrics.min_dcf == pytest.approx({"0.01": 1.0, "0.5": 1.0, "0.99": 1.0}, abs=1e-15)
    assert metrics.eer == metrics.eer_convex_hull == 0.5 and metrics.min_cllr == metrics.cllr == 1


trial_sets = st.lists(
    st.tuples(st.sampled_from([*map(float, range(-4, 5)), np.inf, -np.inf]), st.booleans()),  # many ties
    min_size=2,
    max_size=40,
).filter(lambda rows: len({label for _, label in rows}) == 2)


def lower_hull(points: list[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """Vertices, as (miss, false alarm) with rising miss, by Andrew's monotone chain."""
    hull: list[tuple[Fraction, Fraction]] = []
    for miss, fa in sorted(points, key=lambda point: (point[0], -point[1])):
        while len(hull) > 1:
            (m0, f0), (m1, f1) = hull[-2:]
            if (f1 - f0) * (miss - m0) < (fa - f0) * (m1 - m0):
                break
            hull.pop()
        hull.append((miss, fa))
    return hull


@given(
    trial_sets, st.fractions(Fraction(1, 100), Fraction(99, 100)), st.sampled_from([(1, 1), (10, 1), (1, 3), (0.5, 2)])
)
def test_agrees_with_enumeration_of_all_thresholds(rows, p, costs):
    scores, labels = [s for s, _ in rows], [x for _, x in rows]
    exact = enumerate_points(scores, labels)
    points = operating_points(scores, labels)
    at = dict(zip([*sorted(set(scores)), "none"], exact, strict=True))
    for threshold, miss, fa in zip(points.thresholds[:-1], points.miss, points.false_alarm, strict=False):
        assert (miss, fa) == tuple(map(float, at[threshold]))
    assert (points.miss[0], points.false_alarm[0], points.miss[-1], points.false_alarm[-1]) == (0, 1, 1, 0)
    eer, threshold = equal_error_rate(points)
    assert eer == pytest.approx(float(exact_eer(exact)), abs=1e-12)
    met = [t for t in sorted(set(scores)) if at[t][0] == at[t][1]]
    assert threshold == (met[0] if met else max(t for t in set(scores) if at[t][0] < at[t][1]))
    hull = convex_hull(points.cells)
    assert crossing(hull.miss, hull.false_alarm) == pytest.approx(float(exact_eer(lower_hull(exact))), abs=1e-12)
    c_miss, c_fa = (Fraction(cost) for cost in costs)
    weights = p * c_miss, (1 - p) * c_fa
    least = min(weights[0] * miss + weights[1] * fa for miss, fa in exact) / min(weights)
    assert min_dcf(points, float(p), *costs) == pytest.approx(float(least), abs=1e-12)
    metrics = compute_metrics(scores, labels, [Cost(float(p), *costs)])
    where = metrics.min_dcf_threshold[Cost(float(p), *costs).name]
    miss, fa = min((weights[0] * at[t][0] + weights[1] * at[t][1], at[t]) for t in at if t in (where, "none"))[1]
    assert (weights[0] * miss + weights[1] * fa) / min(weights) == least
    assert metrics.eer_convex_hull <= eer + 1e-12
    assert metrics.min_cllr <= min(1, metrics.cllr) + 1e-12


def calibrated_by_enumeration(rows: list[tuple[float, bool]]) -> float:
    """minCllr: isotonic regression by its min-max formula, in exact numbers, then Cllr of each trial."""
    groups = [[x for s, x in rows if s == value] for value in sorted({s for s, _ in rows})]
    posteriors = [
        max(
            min(
                Fraction(sum(map(sum, groups[i : j + 1])), sum(map(len, groups[i : j + 1])))
                for j in range(k, len(groups))
            )
            for i in range(k + 1)
        )
        for k in range(len(groups))
    ]
    num_targets = sum(x for _, x in rows)
    odds = Fraction(num_targets, len(rows) - num_targets)
    sums = [0.0, 0.0]
    for posterior, group in zip(posteriors, groups, strict=True):
        for label in group:
            ratio = posterior / (1 - posterior) / odds if posterior < 1 else None  # None: infinite
            if label:
                sums[1] += 0 if ratio is None else float(np.log2(float(1 + 1 / ratio)))
            else:
                sums[0] += float(np.log2(float(1 + ratio)))
    return (sums[1] / num_targets + sums[0] / (len(rows) - num_targets)) / 2


@given(trial_sets)
def test_min_cllr_agrees_with_isotonic_regression_by_its_definition(rows):
    metrics = compute_metrics([s for s, _ in rows], [x for _, x in rows])
    assert metrics.min_cllr == pytest.approx(calibrated_by_enumeration(rows), abs=1e-12)


@given(trial_sets, st.integers(1, 5), st.integers(1, 5))
def test_weights_are_repetitions(rows, of_targets, of_nontargets):
    points = operating_points([s for s, _ in rows], [x for _, x in rows])
    weighted = Cells(points.cells.targets * of_targets, points.cells.nontargets * of_nontargets)
    many = [row for row in rows for _ in range(of_targets if row[1] else of_nontargets)]
    repeated = operating_points([s for s, _ in many], [x for _, x in many]).cells
    assert weighted.miss.tolist() == pytest.approx(repeated.miss.tolist(), abs=1e-15)
    assert weighted.false_alarm.tolist() == pytest.approx(repeated.false_alarm.tolist(), abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 6])
def test_agrees_with_scikit_learn(decimals):
    rng = np.random.default_rng(1)
    labels = rng.random(5000) < 0.3
    scores = (rng.normal(size=5000) + 1.5 * labels).round(decimals)
    points = operating_points(scores, labels)
    fa, miss, thresholds = sklearn.metrics.det_curve(labels, scores)
    places = np.searchsorted(thresholds, points.thresholds[:-1])
    inside = thresholds[places.clip(max=len(thresholds) - 1)] == points.thresholds[:-1]  # theirs drops the flat ends
    assert inside.sum() > 20
    np.testing.assert_allclose(points.miss[:-1][inside], miss[places[inside]], atol=1e-12)
    np.testing.assert_allclose(points.false_alarm[:-1][inside], fa[places[inside]], atol=1e-12)
    assert min_dcf(points, 0.05) == pytest.approx(Cost(0.05).of(miss, fa).min())
    llrs = scores - scores.mean()
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    loss = sklearn.metrics.log_loss(labels, 1 / (1 + np.exp(-llrs)), sample_weight=weights)
    assert cllr(llrs, labels) == pytest.approx(loss / np.log(2), abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(-1, 1, width=32), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({label for _, label in rows}) == 2
    ),
    st.randoms(use_true_random=False),
)
def test_order_and_monotone_maps_change_nothing(rows, random):
    shuffled = random.sample(rows, len(rows))
    metrics = compute_metrics([s for s, _ in rows], [x for _, x in rows])
    other = compute_metrics([8 * s for s, _ in shuffled], [x for _, x in shuffled])
    for name in ("eer", "eer_convex_hull", "min_dcf", "min_cllr"):
        assert getattr(metrics, name) == getattr(other, name)
    assert other.eer_threshold == 8 * metrics.eer_threshold


def test_threshold_realises_a_rate_that_is_met_exactly():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])
    metrics = compute_metrics(scores, labels)
    accepted = scores >= metrics.eer_threshold
    assert np.mean(~accepted[labels]) == np.mean(accepted[~labels]) == metrics.eer == 0.5


def test_act_dcf_by_hand():
    # Bayes' threshold for 0.5 is 0: one of two targets missed, a nontarget at 0 accepted of four.
    points = operating_points([-1, 2, 0, -1, -2, -3], np.arange(6) < 2)
    assert act_dcf(points, 0.5) == pytest.approx(0.5 + 0.25)
    assert act_dcf(points, 0.01) == pytest.approx(1)  # above log 99 is nothing
    assert act_dcf(points, 0.01, 1000) == pytest.approx(0.75)  # above -2.3 are both targets, three nontargets


def test_infinite_scores_are_an_order():
    scores, labels = np.array([-np.inf, 1, np.inf, -np.inf, 0, np.inf]), np.arange(6) < 3
    metrics, finite = compute_metrics(scores, labels), compute_metrics(np.clip(scores, -9, 9), labels)
    for name in ("eer", "eer_convex_hull", "min_dcf", "act_dcf", "min_cllr"):
        assert getattr(metrics, name) == getattr(finite, name)
    assert metrics.cllr == np.inf and metrics.to_mapping()["cllr"] is None


def test_cllr_of_infinite_ratios_that_are_right_is_nothing():
    assert compute_metrics([np.inf, -np.inf], [True, False]).cllr == 0


def test_a_score_that_is_not_a_number_is_an_error():
    with pytest.raises(DataError, match="score 2 is not a number"):
        operating_points(np.array([0.0, np.nan]), np.array([True, False]))


@pytest.mark.parametrize(("label", "absent"), [(True, "nontarget"), (False, "target")])
def test_one_class_alone_is_an_error(label, absent):
    with pytest.raises(DataError, match=f"no {absent} trials"):
        operating_points(np.arange(3.0), np.full(3, label))


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 2.0])
def test_p_target_must_be_a_probability(p):
    with pytest.raises(DataError, match="p_target"):
        min_dcf(operating_points(np.arange(2.0), np.array([False, True])), p)


@pytest.mark.parametrize("costs", [(0, 1), (1, -1), (np.inf, 1), (np.nan, 1)])
def test_costs_are_above_zero(costs):
    with pytest.raises(DataError, match="is a cost"):
        Cost(0.5, *costs)


def test_thinned_points_draw_the_same_curve():
    rng = np.random.default_rng(2)
    labels = np.arange(200_000) < 20_000
    points = operating_points(rng.normal(size=len(labels)) + 2 * labels, labels)
    some = thin(points, 500)
    assert len(some) <= 500 and {0, len(points.miss) - 1} <= set(some.tolist())
    inner = (points.miss > 1e-3) & (points.miss < 0.999)
    drawn = np.interp(points.miss[inner], points.miss[some], points.false_alarm[some])
    np.testing.assert_allclose(drawn, points.false_alarm[inner], rtol=0.1, atol=1e-5)
    assert thin(operating_points([0, 1], [False, True])).tolist() == [0, 1, 2]
