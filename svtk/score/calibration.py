"""Calibration and fusion: an affine map of scores, and of quality measures, to log-likelihood ratios.

Trained by prior-weighted logistic regression, as in FoCal and BOSARIS (Brümmer and du Preez, "Application-independent
evaluation of speaker detection", 2006): with N_t target and N_n nontarget trials and x = llr + logit(p), minimise

    p / N_t Σ_targets log(1 + exp(-x)) + (1 - p) / N_n Σ_nontargets log(1 + exp(x)).

For p = 0.5 that is Cllr (:func:`svtk.score.metrics.cllr`), but for its unit. A fusion is a calibration of several
scores.
"""

from __future__ import annotations

import numpy as np

from svtk.errors import DataError

__all__ = ["train_calibration"]

#: On weights of features scaled to deviation 1: moves no weight by more than about 1e-6 of itself, yet keeps
#: weights finite where targets and nontargets do not overlap, and unique where two systems are the same.
_RIDGE = 1e-8
_MAX_STEPS = 500
_GRADIENT = 1e-11


def train_calibration(
    features: np.ndarray, labels: np.ndarray, p_target: float = 0.5, names: list[str] | None = None
) -> tuple[np.ndarray, float]:
    """Weights (F,) and offset of ``llr = features @ weights + offset``, by Newton's method.

    An affine change of a feature changes its weight and the offset, and no ratio.

    Args:
        features: float64 (N, F): scores of each system, then quality measures; finite.
        labels: bool (N,), True = target.
        p_target: the prior p of the sum above: the operating point that matters.
        names: (F) of the features, for messages.

    Raises:
        DataError: no target or no nontarget trials, a feature that is the same for all trials, or no convergence.
    """
    labels = np.asarray(labels, dtype=bool)
    num_targets = int(labels.sum())
    for number, name in ((num_targets, "target"), (len(labels) - num_targets, "nontarget")):
        if number == 0:
            raise DataError(f"no {name} trials", expected="target and nontarget trials")
    center, scale = features.mean(axis=0), features.std(axis=0)
    flat = np.flatnonzero(~(scale > 1e-12 * np.abs(center)))
    if flat.size:
        name = f"feature {flat[0] + 1}" if names is None else names[flat[0]]
        raise DataError(f"{name} is the same for all trials", mend="leave it out")
    inputs = np.column_stack([(features - center) / scale, np.ones(len(features))])  # (N, F + 1)
    costs = np.where(labels, p_target / num_targets, (1 - p_target) / (len(labels) - num_targets))
    signs = np.where(labels, 1.0, -1.0)
    prior = np.log(p_target / (1 - p_target))
    ridge = np.append(np.full(features.shape[1], _RIDGE), 0.0)

    def objective(theta: np.ndarray) -> float:
        return float(costs @ np.logaddexp(0, -signs * (inputs @ theta + prior)) + 0.5 * theta @ (ridge * theta))

    theta = np.append(np.zeros(features.shape[1]), -prior)
    value = objective(theta)
    for _ in range(_MAX_STEPS):
        margins = signs * (inputs @ theta + prior)
        wrong = np.exp(-np.logaddexp(0, margins))  # (N,) probability given to the other kind
        gradient = ridge * theta - inputs.T @ (costs * signs * wrong)
        if np.abs(gradient).max() < _GRADIENT:
            break
        curvature = costs * wrong * np.exp(-np.logaddexp(0, -margins))
        step = np.linalg.solve((inputs.T * curvature) @ inputs + np.diag(ridge), -gradient)
        length = 1.0
        while (new := objective(theta + length * step)) > value + 1e-4 * length * (gradient @ step) and length > 1e-10:
            length /= 2
        if new >= value:  # as low as float64 tells
            break
        theta, value = theta + length * step, new
    else:
        raise DataError(f"the calibration did not converge in {_MAX_STEPS} steps", mend="look at the scores")
    weights = theta[:-1] / scale
    return weights, float(theta[-1] - weights @ center)
