"""Calibration against its definition: gradient zero, invariances, known ratios recovered, separable data."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.score.calibration import train_calibration
from svtk.score.metrics import cllr


def draw(num_trials=4000, num_features=1, seed=0, distance=2.0, share=0.3):
    """Gaussian scores, deviation 1, means 0 and *distance*: features (N, F), labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.random(num_trials) < share
    return rng.normal(size=(num_trials, num_features)) + distance * labels[:, None], labels


def objective(theta, features, labels, p):
    """The docstring's sum, term by term in float64."""
    total = 0.0
    for row, label in zip(features, labels, strict=True):
        x = row @ theta[:-1] + theta[-1] + np.log(p / (1 - p))
        share = p / labels.sum() if label else (1 - p) / (~labels).sum()
        total += share * np.log1p(np.exp(-x if label else x))
    return total


@pytest.mark.parametrize("p_target", [0.5, 0.01])
@pytest.mark.parametrize("num_features", [1, 3])
def test_nothing_near_is_better(p_target, num_features):
    features, labels = draw(300, num_features, seed=num_features, distance=1.0)
    weights, offset = train_calibration(features, labels, p_target)
    theta = np.append(weights, offset)
    best = objective(theta, features, labels, p_target)
    for i in range(len(theta)):
        for step in (1e-3, -1e-3):
            assert objective(theta + step * np.eye(len(theta))[i], features, labels, p_target) > best
    slopes = []
    for i in range(len(theta)):
        move = 1e-5 * np.eye(len(theta))[i]
        up, down = (objective(theta + m, features, labels, p_target) for m in (move, -move))
        slopes.append((up - down) / 2e-5)
    np.testing.assert_allclose(slopes, 0, atol=1e-7)


@pytest.mark.parametrize("p_target", [0.5, 0.05])
def test_known_ratios_are_recovered(p_target):
    """Gaussians of deviation 1 and means 0 and d: llr = d s - d^2 / 2; here the scores are 0.1 s - 3."""
    features, labels = draw(400_000, distance=2.0)
    weights, offset = train_calibration(0.1 * features - 3, labels, p_target)
    assert weights[0] == pytest.approx(20, rel=0.03)
    assert offset == pytest.approx(60 - 2, rel=0.03)
    llrs = (0.1 * features - 3) @ weights + offset
    np.testing.assert_allclose(llrs, 2 * features[:, 0] - 2, atol=0.35)


def test_calibration_lowers_cllr():
    features, labels = draw()
    weights, offset = train_calibration(3 * features + 1, labels)
    assert cllr((3 * features + 1) @ weights + offset, labels) < min(cllr(3 * features[:, 0] + 1, labels), 1)


@pytest.mark.parametrize(("a", "b"), [(1e-6, 0.0), (1e6, -5.0), (-2.0, 1e4)])
def test_an_affine_change_changes_no_ratio(a, b):
    features, labels = draw(num_features=2)
    weights, offset = train_calibration(features, labels, 0.1)
    moved_weights, moved_offset = train_calibration(a * features + b, labels, 0.1)
    expected = features @ weights + offset
    np.testing.assert_allclose((a * features + b) @ moved_weights + moved_offset, expected, atol=1e-6)


def test_more_trials_of_one_kind_do_not_move_it():
    features, labels = draw(500)
    more = np.concatenate([features] + [features[~labels]] * 4), np.concatenate([labels] + [labels[~labels]] * 4)
    once, five = train_calibration(features, labels, 0.2), train_calibration(*more, 0.2)
    moved = features @ five[0] + five[1]
    np.testing.assert_allclose(moved, features @ once[0] + once[1], atol=1e-2)  # the scale of the ridge


def test_separable_trials_converge():
    features = np.array([[0.1], [0.2], [0.3], [0.8], [0.9]])
    labels = np.array([False, False, False, True, True])
    weights, offset = train_calibration(features, labels)
    llrs = features @ weights + offset
    assert np.isfinite(llrs).all() and (llrs[labels] > 5).all() and (llrs[~labels] < -5).all()
    features, labels = draw(2000, distance=200.0)  # very far apart
    weights, offset = train_calibration(features, labels)
    assert ((features @ weights + offset > 0) == labels).all()


def test_fusion_is_better_than_its_parts_and_two_of_a_kind_share():
    features, labels = draw(20_000, 2, distance=1.0)
    weights, offset = train_calibration(features, labels)
    assert weights == pytest.approx([1, 1], rel=0.1)
    fused = cllr(features @ weights + offset, labels)
    for one in range(2):
        alone, b = train_calibration(features[:, [one]], labels)
        assert fused < cllr(features[:, [one]] @ alone + b, labels) - 0.02
    twice, _ = train_calibration(features[:, [0, 0]], labels)
    assert twice[0] == pytest.approx(twice[1], rel=1e-4)


def test_cllr_by_hand():
    llrs, labels = np.log([3.0, 1.0, 1 / 3]), np.array([True, False, False])
    expected = (np.log2(1 + 1 / 3) + (np.log2(2) + np.log2(1 + 1 / 3)) / 2) / 2
    assert cllr(llrs, labels) == pytest.approx(expected)
    assert cllr(np.array([2000.0, -2000.0]), np.array([True, False])) == 0


def test_what_cannot_be_learnt():
    features, labels = draw(50, 2)
    for kind in (True, False):
        with pytest.raises(DataError, match="no (non)?target trials"):
            train_calibration(features[labels == kind], labels[labels == kind])
    features[:, 1] = 7.1
    with pytest.raises(DataError, match="feature 2 is the same for all trials"):
        train_calibration(features, labels)
    with pytest.raises(DataError, match="^durations is the same"):
        train_calibration(features, labels, names=["scores", "durations"])


def test_what_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr("svtk.score.calibration._MAX_STEPS", 2)
    with pytest.raises(DataError, match="did not converge in 2 steps"):
        train_calibration(*draw())
