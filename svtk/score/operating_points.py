"""Misses and false alarms at every threshold, and the figures that are read off them: EER, minDCF, minCllr.

A trial is accepted when its score reaches the threshold. Trials of equal score are accepted or rejected together, so
operating points lie between *distinct* scores only, and the order of tied trials in a file cannot change a figure.
An infinite score is an order like any other.

Of the points only the corners are held: between two of them only targets, only nontargets, or trials of one score
are rejected, so that the curve is a straight line. What lies between two corners is a *cell*.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from svtk.errors import DataError

__all__ = [
    "Cells",
    "Cost",
    "OperatingPoints",
    "act_dcf",
    "convex_hull",
    "corners",
    "crossing",
    "equal_error_rate",
    "min_cllr",
    "min_dcf",
    "operating_points",
    "require_both",
    "split_classes",
    "thin",
]


@dataclasses.dataclass(frozen=True)
class Cells:
    """How many targets and nontargets, or what weight of them, each of C cells holds: float64 (C,), rising scores."""

    targets: np.ndarray
    nontargets: np.ndarray

    @cached_property
    def miss(self) -> np.ndarray:
        """The rate of targets rejected at the C + 1 points between cells, rising from 0 to 1."""
        rejected = np.concatenate([[0.0], np.cumsum(self.targets)])
        return rejected / rejected[-1]

    @cached_property
    def false_alarm(self) -> np.ndarray:
        """The rate of nontargets accepted at these points, falling from 1 to 0."""
        rejected = np.concatenate([[0.0], np.cumsum(self.nontargets)])
        return (rejected[-1] - rejected) / rejected[-1]


@dataclasses.dataclass(frozen=True)
class OperatingPoints:
    """What scores allow: point k rejects the first k cells, and accepts the scores from ``thresholds[k]`` on.

    ``target_scores`` float64 (T,) and ``nontarget_scores`` (N,) rise; ``targets`` and ``nontargets`` int64 (C + 1,)
    are how many are rejected at each point; ``thresholds`` float64 (C + 1,) are scores, but for the last, +inf,
    which stands for rejecting all.
    """

    target_scores: np.ndarray
    nontarget_scores: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray
    thresholds: np.ndarray

    @cached_property
    def cells(self) -> Cells:
        """Counts between the points."""
        return Cells(np.diff(self.targets).astype(np.float64), np.diff(self.nontargets).astype(np.float64))

    @property
    def miss(self) -> np.ndarray:
        """Rates (C + 1,) of targets rejected."""
        return self.cells.miss

    @property
    def false_alarm(self) -> np.ndarray:
        """Rates (C + 1,) of nontargets accepted."""
        return self.cells.false_alarm


def require_both(num_targets: int, num_nontargets: int, path: str | None = None) -> None:
    """Raise DataError where one of the classes has no trial."""
    for number, name in ((num_targets, "target"), (num_nontargets, "nontarget")):
        if number == 0:
            found = f"{num_targets + num_nontargets} of the other kind"
            raise DataError(f"no {name} trials", path=path, found=found, expected="target and nontarget trials")


def split_classes(scores: Sequence[float], labels: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) of either class, as they stand.

    Raises:
        DataError: a score that is NaN, or one of the classes missing.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must be (N,)")
    targets, nontargets = scores[labels], scores[~labels]
    require_both(len(targets), len(nontargets))
    if np.isnan(targets).any() or np.isnan(nontargets).any():
        raise DataError(f"score {int(np.argmax(np.isnan(scores))) + 1} is not a number")
    return targets, nontargets


def operating_points(scores: Sequence[float], labels: Sequence[bool]) -> OperatingPoints:
    """All corners of scores (N,) with labels (N,) bool, True = target; sorts once.

    Raises:
        DataError: as :func:`split_classes`.
    """
    targets, nontargets = split_classes(scores, labels)
    targets.sort()
    nontargets.sort()
    return corners(targets, nontargets)


def corners(targets: np.ndarray, nontargets: np.ndarray) -> OperatingPoints:
    """All corners of rising scores, float64 (T,) and (N,), which are kept."""
    last = np.flatnonzero(np.append(targets[1:] != targets[:-1], True))  # place of each distinct target score
    distinct = targets[last]
    points = np.empty((2, 2 * len(last) + 2), np.int64)  # targets and nontargets rejected
    points[:, 0] = 0
    points[:, -1] = len(targets), len(nontargets)
    points[0, 1:-1:2] = np.append(0, last[:-1] + 1)  # a threshold at each target score ...
    points[1, 1:-1:2] = np.searchsorted(nontargets, distinct)
    points[0, 2:-1:2] = last + 1  # ... and right above it
    points[1, 2:-1:2] = np.searchsorted(nontargets, distinct, side="right")
    del last, distinct
    points = points[:, np.append(True, (points[:, 1:] != points[:, :-1]).any(axis=0))]
    flat = points[:, 1:] == points[:, :-1]  # (2, C): no targets, no nontargets between two points
    points = points[:, np.concatenate([[True], ~(flat[:, 1:] & flat[:, :-1]).any(axis=0), [True]])]
    thresholds = np.full(points.shape[1], np.inf)
    for scores, rejected in zip((targets, nontargets), points, strict=True):
        some = rejected < len(scores)
        thresholds[some] = np.minimum(thresholds[some], scores[rejected[some]])
    return OperatingPoints(targets, nontargets, points[0], points[1], thresholds)


def crossing(miss: np.ndarray, false_alarm: np.ndarray) -> float:
    """Where the straight lines between points (C + 1,), from accepting to rejecting all, have equal rates."""
    difference = miss - false_alarm  # rises from -1 to 1
    k = int(np.searchsorted(difference, 0.0))  # the first point with miss >= false alarm; 1 <= k <= C
    part = -difference[k - 1] / (difference[k] - difference[k - 1])
    return float(miss[k - 1] + part * (miss[k] - miss[k - 1])) if difference[k] > 0 else float(miss[k])


def equal_error_rate(points: OperatingPoints) -> tuple[float, float]:
    """The rate at which misses and false alarms are equally frequent, and the threshold there.

    The plain EER: where no operating point has equal rates, both rates are interpolated linearly between
    the two adjacent points that enclose the crossing. (That of :func:`convex_hull` is never larger.)
    The threshold is the score on which the crossing lies: accepting scores at or above it realises the EER
    when a point has equal rates, and the lower of the two enclosing points' miss rates otherwise.
    """
    targets, nontargets = points.target_scores, points.nontarget_scores

    def surplus(threshold: float) -> int:
        """Sign of miss - false alarm, in whole numbers."""
        missed = int(np.searchsorted(targets, threshold)) * len(nontargets)
        return missed - (len(nontargets) - int(np.searchsorted(nontargets, threshold))) * len(targets)

    reached = []  # the lowest score of each class from which on misses are at least as frequent
    for scores in (targets, nontargets):
        place = bisect.bisect_left(range(len(scores)), True, key=lambda i, of=scores: surplus(of[i]) >= 0)
        reached += scores[place : place + 1].tolist()
    threshold = min(reached, default=None)
    if threshold is None or surplus(threshold) > 0:
        below = [len(s) if threshold is None else int(np.searchsorted(s, threshold)) for s in (targets, nontargets)]
        sides = zip((targets, nontargets), below, strict=True)
        threshold = max(float(scores[place - 1]) for scores, place in sides if place)
    return crossing(points.miss, points.false_alarm), threshold


def convex_hull(cells: Cells) -> Cells:
    """The cells of the lower convex hull of (false alarm, miss), pooled by adjacent violators (PAV).

    Pooled cells hold a rising share of targets. The hull's :func:`crossing` is the convex-hull EER, ROCCH-EER in
    BOSARIS; its points can be realised by choosing between two thresholds at random.
    """
    from scipy.optimize import isotonic_regression  # slow to import, which not every user of this module needs

    weights = cells.targets + cells.nontargets
    there = weights > 0
    weights = weights[there]
    blocks = isotonic_regression(cells.targets[there] / weights, weights=weights).blocks[:-1]
    return Cells(np.add.reduceat(cells.targets[there], blocks), np.add.reduceat(cells.nontargets[there], blocks))


def min_cllr(hull: Cells) -> float:
    """Cllr, in bits, of the best log-likelihood ratios that rise with the scores: those of each pooled cell.

    Args:
        hull: of :func:`convex_hull`.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006.
    """
    targets, nontargets = hull.targets / hull.targets.sum(), hull.nontargets / hull.nontargets.sum()
    both = (targets > 0) & (nontargets > 0)  # a cell of one class costs nothing
    targets, nontargets = targets[both], nontargets[both]
    cost = (targets * np.log2(1 + nontargets / targets) + nontargets * np.log2(1 + targets / nontargets)).sum()
    return float(cost / 2)


@dataclasses.dataclass(frozen=True)
class Cost:
    """An application: prior probability of a target trial, and what a miss and a false alarm cost.

    Raises:
        DataError: no probability between 0 and 1 exclusively, or a cost that is not above 0.
    """

    p_target: float
    c_miss: float = 1.0
    c_fa: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.p_target < 1:
            raise DataError("p_target is a probability", found=f"{self.p_target:g}", expected="between 0 and 1")
        for name in ("c_miss", "c_fa"):
            if not 0 < getattr(self, name) < np.inf:
                raise DataError(f"{name} is a cost", found=f"{getattr(self, name):g}", expected="a number above 0")

    @property
    def name(self) -> str:
        """``P_TARGET``, or ``P_TARGET,C_MISS,C_FA`` where these are not 1.

        >>> Cost(0.01).name, Cost(0.01, 10).name
        ('0.01', '0.01,10,1')
        """
        costs = (self.p_target,) if self.c_miss == self.c_fa == 1 else (self.p_target, self.c_miss, self.c_fa)
        return ",".join(f"{number:g}" for number in costs)

    @property
    def threshold(self) -> float:
        """Bayes' threshold of natural log-likelihood ratios."""
        return float(np.log((1 - self.p_target) * self.c_fa / (self.p_target * self.c_miss)))

    def of(self, miss: np.ndarray, false_alarm: np.ndarray) -> np.ndarray:
        """NIST's detection cost, normalised by that of the better of accepting all and rejecting all.

        ``(p_target C_miss P_miss + (1 - p_target) C_fa P_fa) / min(p_target C_miss, (1 - p_target) C_fa)``.
        """
        missed, alarmed = self.p_target * self.c_miss, (1 - self.p_target) * self.c_fa
        return (missed * miss + alarmed * false_alarm) / min(missed, alarmed)


def min_dcf(points: OperatingPoints, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The least :class:`Cost` at any threshold; in [0, 1].

    Raises:
        DataError: as :class:`Cost`.
    """
    return float(Cost(p_target, c_miss, c_fa).of(points.miss, points.false_alarm).min())


def act_dcf(points: OperatingPoints, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """The :class:`Cost` at Bayes' threshold, scores taken as natural log-likelihood ratios.

    Raises:
        DataError: as :class:`Cost`.
    """
    cost = Cost(p_target, c_miss, c_fa)
    miss = np.searchsorted(points.target_scores, cost.threshold) / len(points.target_scores)
    false_alarm = 1 - np.searchsorted(points.nontarget_scores, cost.threshold) / len(points.nontarget_scores)
    return float(cost.of(miss, false_alarm))


def thin(points: OperatingPoints, num_points: int = 1000, rate_of: float = 1e-7) -> np.ndarray:
    """Which points draw the curve on probit axes as well as all do: their numbers, rising.

    Equally far apart along the curve, so that bends keep theirs; first and last are among them.

    Args:
        points: C + 1 of them.
        num_points: how many at most.
        rate_of: the lowest rate, and the highest's distance from 1, that the axes show.
    """
    from scipy.special import ndtri

    if len(points.thresholds) <= num_points:
        return np.arange(len(points.thresholds))
    axes = [ndtri(np.clip(rates, rate_of, 1 - rate_of)) for rates in (points.miss, points.false_alarm)]
    way = np.append(0, np.cumsum(np.abs(np.diff(axes[0])) + np.abs(np.diff(axes[1]))))
    return np.unique(np.searchsorted(way, np.linspace(0, way[-1], num_points)).clip(max=len(way) - 1))
