"""Error rates of scored trials: equal error rate and normalised minimum detection cost.

A trial is accepted when its score reaches the threshold. Trials of equal score are accepted or rejected
together, so operating points lie between *distinct* scores only, and the order of tied trials in a file
cannot change a figure.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.text import only_one
from svtk.kaldi.trials import Scores, Trials, read_scores, read_trials

__all__ = [
    "Metrics",
    "OperatingPoints",
    "compute_metrics",
    "equal_error_rate",
    "join_labels",
    "min_dcf",
    "operating_points",
    "score_file_metrics",
]


@dataclasses.dataclass(frozen=True)
class OperatingPoints:
    """What the K distinct scores allow: point k rejects the k lowest of them, k = 0 ... K.

    ``scores`` float64 (K,) ascending; ``miss`` and ``false_alarm`` float64 (K + 1,) rates in [0, 1].
    """

    scores: np.ndarray
    miss: np.ndarray
    false_alarm: np.ndarray


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Figures of one score file; rates in [0, 1], ``min_dcf`` by p_target as a plain number's text."""

    eer: float
    eer_threshold: float
    min_dcf: dict[str, float]
    num_targets: int
    num_nontargets: int

    def to_mapping(self) -> dict[str, Any]:
        """What ``compute-metrics --json`` prints."""
        return dataclasses.asdict(self)


def operating_points(scores: np.ndarray, labels: np.ndarray) -> OperatingPoints:
    """Miss and false-alarm rates at every threshold that makes a difference; sorts once.

    Args:
        scores: (N,) finite numbers.
        labels: (N,) bool, True = target.

    Raises:
        DataError: a score that is not finite, or one of the classes missing.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be (N,)")
    if (bad := np.flatnonzero(~np.isfinite(scores))).size:
        raise DataError(f"score {bad[0] + 1} is not finite", found=str(scores[bad[0]]))
    num_targets = int(labels.sum())
    num_nontargets = len(labels) - num_targets
    for number, name in ((num_targets, "target"), (num_nontargets, "nontarget")):
        if number == 0:
            raise DataError(f"no {name} trials", found=f"{len(labels)} of the other kind", expected="both kinds")
    order = np.argsort(scores)
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # (K,) last place of each distinct score
    misses = np.append(0, np.cumsum(labels)[last])  # (K + 1,) targets rejected
    rejected = np.append(0, last + 1)  # (K + 1,) trials rejected
    false_alarms = num_nontargets - (rejected - misses)
    return OperatingPoints(scores[last], misses / num_targets, false_alarms / num_nontargets)


def equal_error_rate(points: OperatingPoints) -> tuple[float, float]:
    """The rate at which misses and false alarms are equally frequent, and the threshold there.

    The plain EER: where no operating point has equal rates, both rates are interpolated linearly between
    the two adjacent points that enclose the crossing. (Not the convex-hull EER, which is never larger.)
    The threshold is the score on which the crossing lies: accepting scores at or above it realises the EER
    when a point has equal rates, and the lower of the two enclosing points' miss rates otherwise.
    """
    difference = points.miss - points.false_alarm  # (K + 1,) strictly ascending from -1 to 1
    k = int(np.searchsorted(difference, 0.0))  # the first point with miss >= false alarm; 1 <= k <= K
    if difference[k] == 0:
        return float(points.miss[k]), float(points.scores[k])
    part = -difference[k - 1] / (difference[k] - difference[k - 1])
    eer = points.miss[k - 1] + part * (points.miss[k] - points.miss[k - 1])
    return float(eer), float(points.scores[k - 1])


def min_dcf(points: OperatingPoints, p_target: float) -> float:
    """The least detection cost, normalised by that of the better of accepting all and rejecting all.

    NIST SRE's ``C = p_target C_miss P_miss + (1 - p_target) C_fa P_fa`` with ``C_miss = C_fa = 1``,
    divided by ``min(p_target, 1 - p_target)``; so it lies in [0, 1].

    Args:
        p_target: prior probability of a target trial, between 0 and 1 exclusively.
    """
    if not 0 < p_target < 1:
        raise DataError("p_target is a probability", found=str(p_target), expected="a number between 0 and 1")
    cost = p_target * points.miss + (1 - p_target) * points.false_alarm
    return float(cost.min() / min(p_target, 1 - p_target))


def compute_metrics(scores: np.ndarray, labels: np.ndarray, p_targets: Sequence[float] = (0.05, 0.01)) -> Metrics:
    """EER and minDCF of scores (N,) with labels (N,) bool.

    Raises:
        DataError: as :func:`operating_points` and :func:`min_dcf`.

    >>> compute_metrics([0.1, 0.4, 0.3, 0.9], [False, False, True, True], [0.5]).to_mapping()
    {'eer': 0.5, 'eer_threshold': 0.4, 'min_dcf': {'0.5': 0.5}, 'num_targets': 2, 'num_nontargets': 2}
    """
    points = operating_points(scores, labels)
    eer, threshold = equal_error_rate(points)
    num_targets = int(np.sum(labels))
    costs = {f"{p:g}": min_dcf(points, p) for p in p_targets}
    return Metrics(eer, threshold, costs, num_targets, len(labels) - num_targets)


def join_labels(
    scores: Scores,
    trials: Trials,
    scores_path: str | os.PathLike = "scores",
    trials_path: str | os.PathLike = "trials",
    *,
    lines: Sequence[int] | None = None,
    skip_unscored: bool = False,
) -> np.ndarray:
    """Labels (N,) bool of the scores: by order when both lists hold the same keys in the same order, else by key.

    *lines* (N) say where in their file the scores stand, some of which may be left out. With *skip_unscored*,
    trials without a score (see ``svtk score --missing skip``) are no error.

    Raises:
        DataError: the trials have no labels, a score has no trial or a trial no score (how many, the first
            few, and the line of the first), or a pair is target in one line and nontarget in another.
    """
    if trials.labels is None:
        raise DataError("the trial list has no labels", path=trials_path, expected="'ENROLL TEST target|nontarget'")
    if scores.enroll == trials.enroll and scores.test == trials.test:
        return trials.labels
    scored = list(zip(scores.enroll, scores.test, strict=True))
    listed = list(zip(trials.enroll, trials.test, strict=True))
    _same_pairs(scored, listed, "score(s) without a trial", scores_path, trials_path, lines)
    if not skip_unscored:
        _same_pairs(listed, scored, "trial(s) without a score", trials_path, scores_path)
    label_of: dict[tuple[str, str], bool] = {}
    for number, (pair, label) in enumerate(zip(listed, trials.labels.tolist(), strict=True), 1):
        if label_of.setdefault(pair, label) != label:
            raise DataError(
                "a pair is both target and nontarget",
                path=trials_path,
                line=number,
                found=repr(" ".join(pair)),
                mend="remove one of the lines",
            )
    return np.fromiter((label_of[pair] for pair in scored), dtype=bool, count=len(scored))


def _same_pairs(
    left: list[tuple[str, str]],
    right: list[tuple[str, str]],
    what: str,
    left_path: Any,
    right_path: Any,
    lines: Sequence[int] | None = None,
) -> None:
    """Every pair of *left*, which stand in *lines* of their file, stands in *right* at least as often."""
    surplus = Counter(left) - Counter(right)
    if surplus:
        first = next(iter(surplus))
        examples = ", ".join(repr(" ".join(pair)) for pair in list(surplus)[:3]) + (" ..." if len(surplus) > 3 else "")
        raise DataError(
            f"{surplus.total()} {what} in {right_path}",
            path=left_path,
            line=left.index(first) + 1 if lines is None else lines[left.index(first)],
            found=examples,
            mend="score exactly the trials of this list",
        )


def score_file_metrics(
    scores: str | os.PathLike, trials: str | os.PathLike, p_targets: Sequence[float] = (0.05, 0.01)
) -> Metrics:
    """:func:`compute_metrics` of a score file against a labelled trial list.

    Raises:
        DataError: as :func:`read_scores`, :func:`read_trials`, :func:`join_labels` and :func:`compute_metrics`; also
            stdin named for both.
    """
    only_one("stdin", {"SCORES": scores, "TRIALS": trials})
    scored, listed = read_scores(scores), read_trials(trials)
    labels = join_labels(scored, listed, scores, trials)
    if (bad := np.flatnonzero(~np.isfinite(scored.scores))).size:
        found = str(scored.scores[bad[0]])
        raise DataError("a score is not finite", path=scores, line=int(bad[0]) + 1, found=found, mend="score again")
    for present, name in ((labels.any(), "target"), (not labels.all(), "nontarget")):
        if not present:
            raise DataError(f"no {name} trials", path=trials, expected="target and nontarget trials")
    return compute_metrics(scored.scores, labels, p_targets)
