"""All that ``compute-metrics`` says of a score file: figures, intervals, groups, the difference to another system."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.text import only_one
from svtk.score.bootstrap import ResampledTrials, TrialSpeakers, draw_speakers, interval, replicate_figures
from svtk.score.groups import Groups, read_groups, read_utt2spk, trial_speakers
from svtk.score.labels import LabelledScores, read_labelled
from svtk.score.metrics import DEFAULT_COSTS, Metrics, metrics_of, nested
from svtk.score.operating_points import Cost, operating_points

__all__ = ["Confidence", "Request", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Confidence:
    """How intervals are made: ``level`` between 0 and 1 of ``num_bootstrap`` draws of speakers by ``seed``."""

    level: float = 0.95
    num_bootstrap: int = 1000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of scores: ``costs`` of minDCF and actDCF; ``missing`` as :func:`read_labelled`; intervals, if
    there is an ``utt2spk``; figures of the groups of each file in ``by``, of which numbers fall into ``bins``; the
    difference to the scores in ``compare``."""

    costs: Sequence[Cost] = DEFAULT_COSTS
    missing: str = "error"
    utt2spk: str | None = None
    confidence: Confidence = Confidence()
    by: Sequence[str] = ()
    bins: Sequence[float] = ()
    compare: str | None = None


def evaluate(scores: str, trials: str | None, request: Request) -> dict[str, Any]:
    """What ``compute-metrics --json`` prints: :meth:`Metrics.to_mapping`, and under

    - ``num_unlisted``, ``num_unscored``: scores without a trial and the reverse, where they are left out;
    - ``confidence``: level, num_bootstrap, seed, num_spks; ``interval``: low and high of each figure;
    - ``by``: file → group → its metrics with their ``interval``; counts alone for a group of one class;
    - ``compare``: the other system's metrics and ``interval``, and ``difference``, its figures minus these, with a
      paired ``difference_interval``.

    Args:
        scores, trials: as :func:`read_labelled`.
        request: what else is wanted.

    Raises:
        DataError: files that cannot be read or do not fit each other.
    """
    others = {f"--by {path}": path for path in request.by}
    inputs = {"SCORES": scores, "TRIALS": trials, "--utt2spk": request.utt2spk, "--compare": request.compare}
    only_one("stdin", inputs | others)
    with_keys = bool(request.utt2spk or request.by or request.compare)
    if request.compare is not None and trials == "-":
        raise DataError("the trial list is read twice, which stdin is not", path=trials, mend="name a file")
    scored = read_labelled(scores, trials, with_keys=with_keys, missing=request.missing)
    utt2spk = None if request.utt2spk is None else read_utt2spk(request.utt2spk)
    sets = {path: read_groups(path, scored, utt2spk=utt2spk, bins=request.bins) for path in request.by}
    speakers, draws = None, None
    confidence = request.confidence
    if utt2spk is not None:
        speakers = trial_speakers(scored, utt2spk, str(request.utt2spk))
        draws = draw_speakers(speakers.num_spks, confidence.num_bootstrap, confidence.seed)
    figures = _Figures(request, speakers, draws)
    own = figures.of(scored.scores, scored.labels)
    result = own.mapping()
    if request.missing == "skip":
        result |= {"num_unlisted": scored.num_unlisted, "num_unscored": scored.num_unscored}
    if speakers is not None:
        result["confidence"] = {**dataclasses.asdict(confidence), "num_spks": speakers.num_spks}
    if sets:
        result["by"] = {path: figures.by_group(scored, groups) for path, groups in sets.items()}
    if request.compare is not None:
        other = _in_order_of(scored, read_labelled(request.compare, trials, with_keys=True, missing=request.missing))
        if other is None:
            what, mend = f"other trials than in {scores}", "score the same trial list with both systems"
            raise DataError(what, path=request.compare, mend=mend)
        theirs = figures.of(other, scored.labels)
        result["compare"] = {"scores": request.compare, **theirs.mapping(), **own.difference(theirs)}
    return result


@dataclasses.dataclass(frozen=True)
class _Found:
    """Metrics of a set of trials, and the figures (R, F) of each draw of speakers, if these are known."""

    metrics: Metrics
    replicates: np.ndarray | None
    costs: Sequence[Cost]
    level: float

    def mapping(self) -> dict[str, Any]:
        """Metrics with their interval."""
        return self.metrics.to_mapping() | self._interval("interval", self.replicates)

    def difference(self, other: _Found) -> dict[str, Any]:
        """The other's figures minus these, with a paired interval."""
        with np.errstate(invalid="ignore"):  # no number where both are infinite
            figures = other.metrics.figures() - self.metrics.figures()
            paired = None
            if self.replicates is not None and other.replicates is not None:
                paired = other.replicates - self.replicates
        found = {"difference": nested(self.costs, figures.tolist())}
        return found | self._interval("difference_interval", paired)

    def _interval(self, name: str, replicates: np.ndarray | None) -> dict[str, Any]:
        if replicates is None:
            return {}
        return {name: nested(self.costs, interval(replicates, self.level).T.tolist())}


class _Figures:
    """Figures of sets of trials, with intervals of the same draws where speakers are known."""

    def __init__(self, request: Request, speakers: TrialSpeakers | None, draws: np.ndarray | None):
        self._request, self._speakers, self._draws = request, speakers, draws

    def of(self, scores: np.ndarray, labels: np.ndarray, chosen: np.ndarray | None = None) -> _Found:
        """Those of the trials *chosen*, bool (N,), or of all."""
        costs, level = self._request.costs, self._request.confidence.level
        if chosen is not None:
            scores, labels = scores[chosen], labels[chosen]
        if self._speakers is None or self._draws is None:
            return _Found(metrics_of(operating_points(scores, labels), costs), None, costs, level)
        speakers = self._speakers if chosen is None else self._speakers.part(chosen)
        trials = ResampledTrials(scores, labels, speakers, costs)
        return _Found(metrics_of(trials.points, costs), replicate_figures(trials, self._draws), costs, level)

    def by_group(self, scored: LabelledScores, groups: Groups) -> dict[str, Any]:
        """Metrics of each group, or how many trials one of a single class has."""
        result = {}
        for place, name in enumerate(groups.names):
            chosen = groups.of == place
            num_targets = int(np.count_nonzero(scored.labels[chosen]))
            num_nontargets = int(np.count_nonzero(chosen)) - num_targets
            if num_targets and num_nontargets:
                result[name] = self.of(scored.scores, scored.labels, chosen).mapping()
            else:
                result[name] = {"num_targets": num_targets, "num_nontargets": num_nontargets}
        return result


def _in_order_of(scored: LabelledScores, other: LabelledScores) -> np.ndarray | None:
    """The scores (N,) of *other* in the order of *scored*; None where their trials are not the same."""
    if len(scored) != len(other):
        return None
    place = {key: number for number, key in enumerate(scored.keys)}
    numbers = np.array([place.get(key, -1) for key in other.keys])
    enroll, test = numbers[other.enroll], numbers[other.test]
    if np.array_equal(enroll, scored.enroll) and np.array_equal(test, scored.test):
        return other.scores
    own, theirs = scored.pairs(), enroll.astype(np.int64) * len(scored.keys) + test
    orders = np.argsort(own, kind="stable"), np.argsort(theirs, kind="stable")
    if (enroll < 0).any() or (test < 0).any() or not np.array_equal(own[orders[0]], theirs[orders[1]]):
        return None
    result = np.empty(len(scored))
    result[orders[0]] = other.scores[orders[1]]
    return result
