"""All that a report shows, in memory: of an experiment directory, or of score files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from svtk.errors import DataError
from svtk.progress import progress
from svtk.score.report.data_dirs import DataDirs
from svtk.score.report.evaluation import Evaluation, evaluate
from svtk.score.report.experiment import Row, System, in_order, read_experiment, read_systems
from svtk.score.report.figures import Colors
from svtk.score.report.sources import experiment_sources, file_sources, trial_lists

__all__ = ["Contents", "read_contents"]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report shows.

    ``name`` is the experiment's, or None; ``rows`` are one per system and trial list, ``evaluations`` one per score
    file whose labels are known, in the same order; ``colors`` are each system's.
    """

    name: str | None
    systems: list[System]
    rows: list[Row]
    evaluations: list[Evaluation]
    data: DataDirs
    colors: Colors


def read_contents(
    inputs: Sequence[str],
    trials: Sequence[str] = (),
    data_dirs: Sequence[str] = (),
    num_bootstrap: int = 0,
    systems: Sequence[str] = (),
    by: Sequence[str] = (),
    missing: str = "error",
) -> Contents:
    """Read an experiment directory, or score files.

    Args:
        inputs: one EXP_DIR, or score files.
        trials: labelled trial lists, or directories of some.
        data_dirs: of the lists' utterances: speakers for intervals, sexes and durations for groups, audio to listen to.
        num_bootstrap: resamples of the speakers for intervals.
        systems: of an experiment only these, in this order; none: all, by size.
        by: grouping files, beyond those of the data directories.
        missing: as :func:`svtk.score.labels.read_labelled`.

    Raises:
        DataError, ModelError: what is there cannot be read or does not fit together.
    """
    lists, data = trial_lists(trials), DataDirs.read(data_dirs)
    experiment = len(inputs) == 1 and Path(inputs[0]).is_dir()
    if experiment:
        found = read_systems(inputs[0], systems)
        rows = read_experiment(inputs[0], systems)
        sources = experiment_sources({system.name: system.evaluations for system in found}, lists)
    else:
        for path in inputs:
            if Path(path).is_dir():
                mend = "an OUTPUT that follows ends in .html or .md; without, the report goes to stdout"
                raise DataError(
                    "a directory among score files", path=path, expected="one EXP_DIR or score files", mend=mend
                )
        found, rows = [], []
        sources = file_sources(inputs, lists)
    if sources:
        sources = progress(sources, "score files", unit="score files")
    evaluations = [evaluate(source, data, num_bootstrap, by, missing) for source in sources]
    of = {(e.system, e.trials, e.variant): e for e in evaluations}
    if experiment:
        rows = [_updated(row, of.get((row.system, row.list_name, row.variant))) for row in rows]
    else:
        rows = in_order([_updated(Row(e.system, e.trials), e) for e in evaluations])
    names = list(dict.fromkeys(row.system for row in rows))
    in_row_order = [of[key] for row in rows if (key := (row.system, row.list_name, row.variant)) in of]
    found.sort(key=lambda system: names.index(system.name))
    name = os.path.basename(os.path.abspath(inputs[0])) if experiment else None
    return Contents(name, found, rows, in_row_order, data, Colors(names))


def _updated(row: Row, evaluation: Evaluation | None) -> Row:
    """The row with the figures of its score file, which stand above what an earlier stage noted."""
    if evaluation is None:
        return row
    metrics, calibrated = evaluation.metrics, evaluation.calibrated
    return dataclasses.replace(
        row,
        eer=metrics.eer,
        eer_interval=evaluation.eer_interval,
        min_dcf=metrics.min_dcf,
        min_cllr=metrics.min_cllr,
        cllr=None if calibrated is None else calibrated.cllr,
    )
