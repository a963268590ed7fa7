"""How far figures would vary with other speakers: bootstrap replicates that draw speakers, not trials.

Trials that share a speaker are no independent observations, so speakers are drawn with replacement, and each comes
with its trials: where speaker s was drawn w_s times, a target trial of s counts w_s times and a nontarget trial of s
and t counts w_s w_t times, as if every drawn speaker were another person. (Poh and Bengio, "Estimating the confidence
interval of expected performance curve in biometric authentication using joint bootstrap", 2007; Owen, "The pigeonhole
bootstrap", 2007, shows that drawing both sides errs to the safe side.) With simulated trials of 24 and 60 speakers,
95 % intervals of the EER held the true one 90 and 95 times in 100; those of drawing trials 50 and 58 times. Weights
are summed up in the scores' order, so that a replicate costs a walk over the trials and no sort. The same draws on two
systems make their difference a paired one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from svtk.errors import DataError
from svtk.progress import progress
from svtk.score.blocks import in_order
from svtk.score.metrics import DEFAULT_COSTS, hull_figures, log_costs
from svtk.score.operating_points import Cells, Cost, OperatingPoints, corners, crossing

__all__ = ["ResampledTrials", "TrialSpeakers", "det_band", "draw_speakers", "interval", "replicate_figures"]

_PIECE = 1 << 18  # trials weighted at a time
_FEWEST = 3  # speakers
_LONG = 10**9  # trials times draws, some seconds, that are worth progress


@dataclasses.dataclass(frozen=True)
class TrialSpeakers:
    """Speakers of both sides of N trials: numbers below ``num_spks``, int32 (N,) each."""

    enroll: np.ndarray
    test: np.ndarray
    num_spks: int

    def part(self, chosen: np.ndarray) -> TrialSpeakers:
        """Those of the trials marked in *chosen*, bool (N,)."""
        return TrialSpeakers(self.enroll[chosen], self.test[chosen], self.num_spks)


def draw_speakers(num_spks: int, num_bootstrap: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each speaker is drawn in each replicate, uint16 (R, S); rows sum to S.

    Raises:
        DataError: so few speakers that draws say nothing.
    """
    if num_spks < _FEWEST:
        raise DataError("too few speakers for intervals", found=str(num_spks), expected=f"{_FEWEST} or more")
    rng = np.random.default_rng(seed)
    draws = np.empty((num_bootstrap, num_spks), np.uint16)
    for row in draws:
        row[:] = np.bincount(rng.integers(0, num_spks, num_spks), minlength=num_spks)
    return draws


class _Class:
    """The n trials of one class in the order of their scores.

    Args:
        speakers: of one side, or of both: (n,) each.
        losses: float64 (n,), of which a weighted mean is wanted.
        marks: (M,) rising numbers of trials from 0 to n, below which weights are to be summed.
    """

    def __init__(self, speakers: Sequence[np.ndarray], losses: np.ndarray, marks: np.ndarray):
        self._speakers, self._losses, self._marks = speakers, losses, marks
        self._infinite = np.flatnonzero(np.isinf(losses))
        losses[self._infinite] = 0  # infinite times a weight of 0 is nothing

    def sums(self, weights: np.ndarray) -> tuple[np.ndarray, float]:
        """Of speakers' weights (S,): the trials' weights summed below each mark (M,), and the mean loss."""
        between, loss, marks = np.zeros(len(self._marks) - 1), 0.0, self._marks
        for start in range(0, len(self._losses), _PIECE):
            stop = min(start + _PIECE, len(self._losses))
            of = self._of(weights, slice(start, stop))
            first, last = int(np.searchsorted(marks, start, "right")) - 1, int(np.searchsorted(marks, stop))
            between[first:last] += np.add.reduceat(of, np.maximum(marks[first:last] - start, 0))
            loss += float(np.einsum("i,i->", of, self._losses[start:stop]))  # not BLAS, whose threads would spin
        below = np.append(0.0, np.cumsum(between))
        if self._infinite.size and self._of(weights, self._infinite).any():
            loss = np.inf
        return below, loss / below[-1] if below[-1] else np.nan

    def _of(self, weights: np.ndarray, places: slice | np.ndarray) -> np.ndarray:
        of = weights[self._speakers[0][places]]
        for side in self._speakers[1:]:
            of *= weights[side[places]]
        return of


class ResampledTrials:
    """Scored trials sorted once, of which figures can be had for any draw of speakers.

    Args:
        scores, labels: float64 (N,) and bool (N,), both classes.
        speakers: of the trials' sides.
        costs: of minDCF and actDCF.
    """

    def __init__(
        self, scores: np.ndarray, labels: np.ndarray, speakers: TrialSpeakers, costs: Sequence[Cost] = DEFAULT_COSTS
    ):
        self.costs = costs
        ordered, sides = [], []
        for chosen in (labels, ~labels):
            places = np.flatnonzero(chosen)
            places = places[np.argsort(scores[places])]
            ordered.append(scores[places])
            sides.append([speakers.enroll[places], speakers.test[places]])
        self.points: OperatingPoints = corners(*ordered)
        thresholds = np.array([cost.threshold for cost in costs])
        self._classes, self._corners, self._decisions = [], [], []
        del sides[0][1]  # a target trial's sides are of one speaker
        for values, own, points in zip(ordered, sides, (self.points.targets, self.points.nontargets), strict=True):
            rejected = np.searchsorted(values, thresholds)  # at Bayes' thresholds
            marks = np.union1d(points, rejected)
            self._corners.append(np.searchsorted(marks, points))
            self._decisions.append(np.searchsorted(marks, rejected))
            self._classes.append(_Class(own, log_costs(values, own is sides[0]), marks))

    def __len__(self) -> int:
        return len(self.points.target_scores) + len(self.points.nontarget_scores)

    def cells(self, weights: np.ndarray) -> Cells | None:
        """The weighted cells of a draw, uint (S,); None where it leaves no trial of a class."""
        sums = [trials.sums(weights.astype(np.float64))[0] for trials in self._classes]
        return self._cells(sums)

    def _cells(self, sums: list[np.ndarray]) -> Cells | None:
        if not all(below[-1] for below in sums):
            return None
        return Cells(*(np.diff(below[places]) for below, places in zip(sums, self._corners, strict=True)))

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """The figures of :func:`svtk.score.metrics.figure_names` for a draw, uint (S,); NaN where it has none."""
        (misses, lost), (rejections, wasted) = [side.sums(weights.astype(np.float64)) for side in self._classes]
        cells = self._cells([misses, rejections])
        if cells is None:
            return np.full(4 + 2 * len(self.costs), np.nan)
        eer_convex_hull, min_cllr = hull_figures(cells)
        least = [float(cost.of(cells.miss, cells.false_alarm).min()) for cost in self.costs]
        miss = misses[self._decisions[0]] / misses[-1]
        false_alarm = 1 - rejections[self._decisions[1]] / rejections[-1]
        actual = [float(cost.of(miss[i], false_alarm[i])) for i, cost in enumerate(self.costs)]
        eer = crossing(cells.miss, cells.false_alarm)
        return np.array([eer, eer_convex_hull, (lost + wasted) / 2, min_cllr, *least, *actual])


def _replicates(work: Callable[[np.ndarray], np.ndarray], trials: ResampledTrials, draws: np.ndarray) -> np.ndarray:
    found = in_order(work, ((draw,) for draw in draws))
    if len(trials) * len(draws) > _LONG:
        found = progress(found, "bootstrap", total=len(draws), unit="draw")
    return np.array(list(found))


def replicate_figures(trials: ResampledTrials, draws: np.ndarray) -> np.ndarray:
    """Figures of every draw, uint (R, S): float64 (R, F) as :func:`svtk.score.metrics.figure_names`."""
    return _replicates(trials.figures, trials, draws)


def interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The percentile interval of replicates, (R, ...) → (2, ...): low and high.

    Draws without one of the classes are left out; NaN where they are more than half.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    absent = np.isnan(values).mean(axis=0) > 0.5
    filled = np.where(absent, 0.0, values)
    # An observed value, not a mean of two, which may be infinite.
    return np.where(absent, np.nan, np.nanquantile(filled, tails, axis=0, method="inverted_cdf"))


def det_band(trials: ResampledTrials, draws: np.ndarray, false_alarms: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The band of a DET curve: intervals of the miss rate at each false-alarm rate (G,) → low and high, (2, G)."""

    def miss_rates(weights: np.ndarray) -> np.ndarray:
        cells = trials.cells(weights)
        if cells is None:
            return np.full(len(false_alarms), np.nan)
        return np.interp(false_alarms, cells.false_alarm[::-1], cells.miss[::-1])

    return interval(_replicates(miss_rates, trials, draws), level)
