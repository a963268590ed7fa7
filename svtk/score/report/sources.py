"""Which score files a report is of, and which trial list each belongs to."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from svtk.errors import DataError
from svtk.score.labels import read_labelled
from svtk.score.report.experiment import split_variant

__all__ = ["Source", "experiment_sources", "file_sources", "trial_lists"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source:
    """A score file: of which system and trial list, what became of it, and its log-likelihood ratios' file if any."""

    system: str
    trials: str
    variant: str
    scores: Path
    trials_file: Path | None
    llrs: Path | None = None


def trial_lists(paths: Sequence[str]) -> dict[str, Path]:
    """Trial lists by name: files, and the files of directories.

    Raises:
        DataError: not there, or a name that stands twice.
    """
    lists: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError("no such trial list", path=path, mend="name a trial list or a directory of some")
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not file.is_file() or file.name.startswith(".") or file.name.endswith((".part", ".json")):
                continue
            if lists.setdefault(file.name, file) != file:
                raise DataError(f"a second trial list called {file.name!r}", path=file, found=str(lists[file.name]))
    return lists


def experiment_sources(systems: Mapping[str, Mapping[str, Path]], lists: Mapping[str, Path]) -> list[Source]:
    """The score files of an experiment whose trial lists are known.

    Args:
        systems: for each system its evaluations' directories by name.
        lists: trial lists by name.
    """
    sources, unknown = [], set()
    for system, evaluations in systems.items():
        for name, directory in evaluations.items():
            trials, variant = split_variant(name)
            scores, llrs = directory / "scores", directory / "llrs"
            if trials not in lists:
                unknown.add(trials)
            elif scores.is_file():
                found = llrs if llrs.is_file() else None
                sources.append(Source(system, trials, variant, scores, lists[trials], found))
            else:
                log.warning("%s: not there: no curves of it", scores)
    if unknown:
        log.warning("no trial list for %s (--trials): no curves of it", ", ".join(sorted(unknown)))
    return sources


def file_sources(paths: Sequence[str], lists: Mapping[str, Path]) -> list[Source]:
    """Score files, each with the one trial list that has its trials, or with labels of their own.

    Raises:
        DataError: a score file that none of the lists fits, or more than one does.
    """
    files = [Path(path) for path in paths]
    sources = []
    for file, name in zip(files, _names(files), strict=True):
        if not file.is_file():
            raise DataError("no such experiment directory or score file", path=file)
        trials = _fitting(file, lists) if lists else None
        sources.append(Source(name, file.name if trials is None else trials, "", file, lists.get(trials)))
    return sources


def _fitting(scores: Path, lists: Mapping[str, Path]) -> str:
    """The name of the list that has exactly the trials of *scores*; of a single list, errors are found later."""
    if len(lists) == 1:
        return next(iter(lists))
    fitting = []
    for name, path in lists.items():
        try:
            read_labelled(scores, path)
        except DataError:
            continue
        fitting.append(name)
    if len(fitting) != 1:
        found = " and ".join(fitting) or f"none of {', '.join(lists)}"
        raise DataError("which trial list it belongs to is not clear", path=scores, found=found, expected="one list")
    return fitting[0]


def _names(files: Sequence[Path]) -> list[str]:
    """What tells the files' paths apart, without an ending."""
    parts = [[*file.parts[:-1], file.stem if file.suffix == ".scores" else file.name] for file in files]
    while min(map(len, parts)) > 1 and len(parts) > 1 and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    while min(map(len, parts)) > 1 and len(parts) > 1 and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]
    names = [os.path.join(*p) if len(parts) > 1 else p[-1] for p in parts]
    if len(set(names)) < len(names):
        twice = next(file for i, file in enumerate(files) if names[i] in names[:i])
        raise DataError("the score file is named twice", path=twice)
    return names
