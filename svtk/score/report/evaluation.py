"""What the report keeps of one score file, however long: its figures, thinned curves, binned scores, worst errors."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from svtk.provenance import read_record
from svtk.score.bootstrap import ResampledTrials
from svtk.score.labels import LabelledScores, read_labelled
from svtk.score.metrics import Metrics, metrics_of
from svtk.score.operating_points import OperatingPoints, operating_points, thin
from svtk.score.report.breakdown import Band, Group, band_grid, eer_by_group, resampling_of
from svtk.score.report.data_dirs import DataDirs
from svtk.score.report.experiment import label_of
from svtk.score.report.sources import Source

__all__ = ["NUM_ERRORS", "Det", "Error", "Evaluation", "Histogram", "evaluate"]

log = logging.getLogger(__name__)

NUM_ERRORS = 10  # that are listed, of either class
_NUM_BINS = 80


@dataclasses.dataclass(frozen=True)
class Det:
    """A DET curve: rates (K,) of misses, rising, and of false alarms, falling."""

    miss: np.ndarray
    false_alarm: np.ndarray


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Densities (B,) of either class between ``edges`` (B + 1,)."""

    edges: np.ndarray
    targets: np.ndarray
    nontargets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Error:
    """A trial that its score puts far on the wrong side."""

    enroll: str
    test: str
    score: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One score file of one system on one trial list; ``variant`` says what became of the scores (``as-norm``).

    ``calibrated`` are the figures of its log-likelihood ratios, and ``record`` says how it was made, where they are.
    ``num_unlisted`` scores had no trial and ``num_unscored`` trials no score.
    """

    system: str
    trials: str
    variant: str
    metrics: Metrics
    eer_interval: tuple[float, float] | None
    calibrated: Metrics | None
    det: Det
    band: Band | None
    histogram: Histogram
    groups: list[Group]
    false_alarms: list[Error]
    misses: list[Error]
    record: dict[str, Any] | None
    num_unlisted: int = 0
    num_unscored: int = 0

    @property
    def label(self) -> str:
        """What tables and legends call it, and the series it belongs to in all figures."""
        return label_of(self.system, self.variant)


def evaluate(
    source: Source, lookup: DataDirs, num_bootstrap: int, by: Sequence[str] = (), missing: str = "error"
) -> Evaluation:
    """Read and reduce one score file.

    Args:
        source: the score file and its trials.
        lookup: data directories of the utterances, for intervals and groups.
        num_bootstrap: resamples of the speakers for intervals and bands; 0: none.
        by: grouping files, beyond those of the data directories.
        missing: as :func:`svtk.score.labels.read_labelled`.

    Raises:
        DataError: as :func:`svtk.score.labels.read_labelled`.
    """
    labelled = read_labelled(source.scores, source.trials_file, with_keys=True, missing=missing)
    data_dir = lookup.of_trials(labelled.keys)
    if data_dir is None and lookup.utterances:
        what = "no intervals and no groups: some of its utterances are in none of the data directories"
        log.warning("%s: %s", source.scores, what)
    resampling = resampling_of(labelled, data_dir, num_bootstrap, source.scores)
    if resampling is None:
        points, eer_interval, band = operating_points(labelled.scores, labelled.labels), None, None
    else:
        trials = ResampledTrials(labelled.scores, labelled.labels, resampling.speakers)
        points = trials.points
        eer_interval, band = resampling.rates(trials, band_grid(len(points.nontarget_scores)))
    kept = thin(points)
    return Evaluation(
        system=source.system,
        trials=source.trials,
        variant=source.variant,
        metrics=metrics_of(points),
        eer_interval=eer_interval,
        calibrated=_calibrated(source, missing),
        det=Det(points.miss[kept], points.false_alarm[kept]),
        band=band,
        histogram=_histogram(points),
        groups=eer_by_group(labelled, data_dir, by, resampling, source.scores),
        false_alarms=_worst(labelled, ~labelled.labels, points.nontarget_scores[-NUM_ERRORS:][0], -1),
        misses=_worst(labelled, labelled.labels, points.target_scores[:NUM_ERRORS][-1], 1),
        record=read_record(source.scores),
        num_unlisted=labelled.num_unlisted,
        num_unscored=labelled.num_unscored,
    )


def _calibrated(source: Source, missing: str) -> Metrics | None:
    if source.llrs is None:
        return None
    labelled = read_labelled(source.llrs, source.trials_file, missing=missing)
    return metrics_of(operating_points(labelled.scores, labelled.labels))


def _histogram(points: OperatingPoints) -> Histogram:
    """Finite scores in equally wide bins."""
    finite = [scores[np.isfinite(scores)] for scores in (points.target_scores, points.nontarget_scores)]
    ends = [scores[[0, -1]] for scores in finite if len(scores)]
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _NUM_BINS + 1)
    densities = []
    for scores in finite:
        places = np.searchsorted(scores, edges)
        places[-1] = len(scores)
        densities.append(np.diff(places) / max(1, len(scores)) / (edges[1] - edges[0]))
    return Histogram(edges, *densities)


def _worst(labelled: LabelledScores, of_class: np.ndarray, bound: float, sign: int) -> list[Error]:
    """The trials of a class whose scores are at least as bad as *bound*, the worst first."""
    places = np.flatnonzero(of_class & (sign * labelled.scores <= sign * bound))
    places = places[np.argsort(sign * labelled.scores[places], kind="stable")][:NUM_ERRORS]
    keys = labelled.keys
    return [Error(keys[labelled.enroll[i]], keys[labelled.test[i]], float(labelled.scores[i])) for i in places.tolist()]
