"""The figures of scored trials in [0, 1] or bits: EER, minDCF, actDCF, Cllr, minCllr, and their thresholds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from svtk.score.operating_points import (
    Cells,
    Cost,
    OperatingPoints,
    act_dcf,
    convex_hull,
    crossing,
    equal_error_rate,
    min_cllr,
    min_dcf,
    operating_points,
)

__all__ = [
    "DEFAULT_COSTS",
    "Metrics",
    "cllr",
    "compute_metrics",
    "equal_error_rate",
    "figure_names",
    "log_costs",
    "metrics_of",
    "min_dcf",
    "nested",
    "operating_points",
]

DEFAULT_COSTS = (Cost(0.05), Cost(0.01), Cost(0.001))


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Figures of one set of trials; rates in [0, 1], costs by :attr:`Cost.name`.

    ``eer`` is the plain one (:func:`equal_error_rate`), ``eer_convex_hull`` that of :func:`convex_hull`. ``act_dcf``
    and ``cllr`` (bits) take scores as natural log-likelihood ratios. ``min_dcf_threshold``: accepting scores from it
    on costs ``min_dcf``; infinite where rejecting all does.
    """

    eer: float
    eer_threshold: float
    eer_convex_hull: float
    min_dcf: dict[str, float]
    min_dcf_threshold: dict[str, float]
    act_dcf: dict[str, float]
    cllr: float
    min_cllr: float
    num_targets: int
    num_nontargets: int

    def to_mapping(self) -> dict[str, Any]:
        """What ``compute-metrics --json`` prints; None stands for what is infinite, which JSON cannot say."""
        return _finite(dataclasses.asdict(self))

    def figures(self) -> np.ndarray:
        """The figures of :func:`figure_names`, float64 (F,)."""
        costs = [*self.min_dcf.values(), *self.act_dcf.values()]
        return np.array([self.eer, self.eer_convex_hull, self.cllr, self.min_cllr, *costs])


def figure_names(costs: Sequence[Cost]) -> list[str]:
    """What intervals and differences are given of: names of :class:`Metrics`, ``NAME/COST`` where it has one a cost."""
    by_cost = [f"{name}/{cost.name}" for name in ("min_dcf", "act_dcf") for cost in costs]
    return ["eer", "eer_convex_hull", "cllr", "min_cllr", *by_cost]


def nested(costs: Sequence[Cost], values: Sequence[Any]) -> dict[str, Any]:
    """Values of :func:`figure_names` as :class:`Metrics` nests them.

    >>> nested([Cost(0.01)], [1, 2, 3, 4, 5, 6])["act_dcf"]
    {'0.01': 6}
    """
    result: dict[str, Any] = {}
    for name, value in zip(figure_names(costs), values, strict=True):
        outer, _, inner = name.partition("/")
        if inner:
            result.setdefault(outer, {})[inner] = value
        else:
            result[outer] = value
    return _finite(result)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_finite(inner) for inner in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def log_costs(llrs: np.ndarray, target: bool) -> np.ndarray:
    """What Cllr averages: bits (N,) that natural log-likelihood ratios (N,) of one class lose."""
    return np.logaddexp(0, -llrs if target else llrs) / math.log(2)


def cllr(llrs: np.ndarray, labels: np.ndarray) -> float:
    """The cost of log-likelihood ratios, in bits: 0 for perfect ones, 1 for those that say nothing.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006.

    Args:
        llrs: natural logarithms (N,).
        labels: bool (N,), True = target; both kinds are there.

    >>> cllr(np.zeros(3), np.array([True, False, False]))
    1.0
    """
    return _cllr(llrs[labels], llrs[~labels])


def _cllr(targets: np.ndarray, nontargets: np.ndarray) -> float:
    """Mean of both classes' mean costs; in pieces, so that it holds no copy of the scores."""
    sums = []
    for scores, target in ((targets, True), (nontargets, False)):
        pieces = (scores[start : start + (1 << 20)] for start in range(0, len(scores), 1 << 20))
        sums.append(math.fsum(float(log_costs(piece, target).sum()) for piece in pieces) / len(scores))
    return sum(sums) / 2


def hull_figures(cells: Cells) -> tuple[float, float]:
    """Convex-hull EER and minCllr."""
    hull = convex_hull(cells)
    return crossing(hull.miss, hull.false_alarm), min_cllr(hull)


def metrics_of(points: OperatingPoints, costs: Sequence[Cost] = DEFAULT_COSTS) -> Metrics:
    """All figures of operating points."""
    eer, threshold = equal_error_rate(points)
    eer_convex_hull, lowest_cllr = hull_figures(points.cells)
    least, where, actual = {}, {}, {}
    for cost in costs:
        values = cost.of(points.miss, points.false_alarm)
        best = int(np.argmin(values))
        least[cost.name], where[cost.name] = float(values[best]), float(points.thresholds[best])
        actual[cost.name] = act_dcf(points, *dataclasses.astuple(cost))
    return Metrics(
        eer=eer,
        eer_threshold=threshold,
        eer_convex_hull=eer_convex_hull,
        min_dcf=least,
        min_dcf_threshold=where,
        act_dcf=actual,
        cllr=_cllr(points.target_scores, points.nontarget_scores),
        min_cllr=lowest_cllr,
        num_targets=len(points.target_scores),
        num_nontargets=len(points.nontarget_scores),
    )


def compute_metrics(scores: Sequence[float], labels: Sequence[bool], costs: Sequence[Cost] = DEFAULT_COSTS) -> Metrics:
    """All figures of scores (N,) with labels (N,) bool.

    Raises:
        DataError: as :func:`operating_points`.

    >>> metrics = compute_metrics([0.1, 0.4, 0.3, 0.9], [False, False, True, True], [Cost(0.5)])
    >>> metrics.eer, metrics.eer_threshold, metrics.min_dcf
    (0.5, 0.4, {'0.5': 0.5})
    """
    return metrics_of(operating_points(scores, labels), costs)
