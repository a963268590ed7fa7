"""How sure the figures of a score file are, and what they are of groups of its trials: what a data directory adds."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from svtk.errors import DataError
from svtk.kaldi.text import read_text
from svtk.score.blocks import in_order
from svtk.score.bootstrap import ResampledTrials, TrialSpeakers, draw_speakers, interval
from svtk.score.groups import Groups, read_groups, read_utt2spk, trial_speakers
from svtk.score.labels import LabelledScores
from svtk.score.operating_points import crossing, equal_error_rate, operating_points

__all__ = ["Band", "Group", "Resampling", "band_grid", "eer_by_group", "resampling_of"]

log = logging.getLogger(__name__)

_BAND_POINTS = 200
_FEW = 3  # numbers that are groups by themselves


@dataclasses.dataclass(frozen=True)
class Band:
    """Between ``low`` and ``high`` (K,) the rate of misses lies at each rate of ``false_alarm`` (K,)."""

    false_alarm: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Group:
    """The EER of the trials of one group."""

    grouping: str
    value: str
    eer: float
    interval: tuple[float, float] | None
    num_targets: int
    num_nontargets: int


@dataclasses.dataclass(frozen=True)
class Resampling:
    """Who speaks in the trials, and how often each speaker is drawn in each replicate: uint (R, S)."""

    speakers: TrialSpeakers
    draws: np.ndarray

    def rates(self, trials: ResampledTrials, false_alarms: np.ndarray) -> tuple[tuple[float, float] | None, Band]:
        """95 % intervals of the EER, and of the miss rates at *false_alarms*, from the same replicates."""

        def of(draw: np.ndarray) -> np.ndarray:
            cells = trials.cells(draw)
            if cells is None:
                return np.full(1 + len(false_alarms), np.nan)
            misses = np.interp(false_alarms, cells.false_alarm[::-1], cells.miss[::-1])
            return np.append(crossing(cells.miss, cells.false_alarm), misses)

        low, high = interval(np.array(list(in_order(of, ((draw,) for draw in self.draws)))))
        known = ~np.isnan(low)
        eer = (float(low[0]), float(high[0])) if known[0] else None
        known = known[1:]
        return eer, Band(false_alarms[known], low[1:][known], high[1:][known])


def band_grid(num_nontargets: int) -> np.ndarray:
    """False-alarm rates (K,), equally far apart on a probit axis, at which a band is drawn."""
    return ndtr(np.linspace(ndtri(0.5 / num_nontargets), ndtri(0.99), _BAND_POINTS))


def resampling_of(
    labelled: LabelledScores, data_dir: Path | None, num_bootstrap: int, scores: str | os.PathLike
) -> Resampling | None:
    """None, with a warning, where too little is known of the speakers.

    Args:
        labelled: with keys.
        data_dir: of the trials' utterances.
        num_bootstrap: replicates; 0: none.
        scores: the score file's name, for messages.
    """
    if data_dir is None or not num_bootstrap:
        return None
    path = os.fspath(data_dir / "utt2spk")
    try:
        speakers = trial_speakers(labelled, read_utt2spk(path), path)
        return Resampling(speakers, draw_speakers(speakers.num_spks, num_bootstrap))
    except DataError as error:
        log.warning("%s: no confidence intervals; %s", os.fspath(scores), error)
        return None


def eer_by_group(
    labelled: LabelledScores,
    data_dir: Path | None,
    by: Sequence[str],
    resampling: Resampling | None,
    scores: str | os.PathLike,
) -> list[Group]:
    """The EER of every group of trials, by sex, duration and what else is asked for, that has both classes.

    Args:
        labelled: with keys.
        data_dir: of the trials' utterances; its ``spk2gender`` and ``utt2dur`` are used where they are.
        by: further grouping files, as of :func:`svtk.score.groups.read_groups`.
        resampling: for intervals.
        scores: the score file's name, for messages.
    """
    found = []
    for grouping, groups in _groupings(labelled, data_dir, by, scores):
        for number, name in enumerate(groups.names):
            chosen = groups.of == number
            labels = labelled.labels[chosen]
            num_targets, num_nontargets = int(labels.sum()), int((~labels).sum())
            if not num_targets or not num_nontargets:
                continue
            limits = None
            if resampling is None:
                points = operating_points(labelled.scores[chosen], labels)
            else:
                trials = ResampledTrials(labelled.scores[chosen], labels, resampling.speakers.part(chosen))
                points = trials.points
                limits, _ = resampling.rates(trials, np.empty(0))
            found.append(Group(grouping, name, equal_error_rate(points)[0], limits, num_targets, num_nontargets))
    return found


def _groupings(
    labelled: LabelledScores, data_dir: Path | None, by: Sequence[str], scores: str | os.PathLike
) -> Iterator[tuple[str, Groups]]:
    """Yield what trials are grouped by, and their groups; a file that does not tell of all trials, with a warning."""
    files = {os.path.basename(file): Path(file) for file in by}
    utt2spk = None
    if data_dir is not None:
        utt2spk = read_utt2spk(os.fspath(data_dir / "utt2spk"))
        own = {"sex": data_dir / "spk2gender", "duration of the shorter side (s)": data_dir / "utt2dur"}
        files = {name: path for name, path in own.items() if path.is_file()} | files
    for name, path in files.items():
        try:
            yield name, read_groups(os.fspath(path), labelled, utt2spk=utt2spk, bins=_thirds(path))
        except DataError as error:
            log.warning("%s: not by %s; %s", os.fspath(scores), name, error)


def _thirds(path: Path) -> list[float]:
    """Two edges, or fewer, that part a file's many numbers into thirds, in round numbers; none of other values."""
    words = [line.split()[-1] for line in read_text(path) if line.strip()]
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return []
    if len(np.unique(values)) <= _FEW:
        return []
    return np.unique(np.round(np.quantile(values, [1 / 3, 2 / 3]), 1 if np.abs(values).max() < 10 else 0)).tolist()
