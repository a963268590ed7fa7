"""Calibrations as files: trained on score files and a trial list, applied to score files of any length."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.columns import KeyIndex, Pairs, parse_scores, score_blocks
from svtk.kaldi.streams import open_wxfilename
from svtk.kaldi.text import only_one, read_text, write_text
from svtk.kaldi.trials import Scores, read_trials
from svtk.score.blocks import in_order, with_progress
from svtk.score.calibration import train_calibration
from svtk.score.labels import join_labels
from svtk.score.metrics import cllr
from svtk.score.missing import MissingKeys

__all__ = ["Calibration", "Quality", "apply_calibration", "read_calibration", "train_calibration_files"]

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Quality:
    """Values of every utterance, of which the lower and the higher of a trial's two sides count.

    ``name`` of the file; ``log``: natural logarithms are taken; ``rows`` float64 (N, C), one per key of ``index``.
    """

    name: str
    log: bool
    index: KeyIndex
    rows: np.ndarray

    @classmethod
    def read(cls, rxfilename: str, take_log: bool = False) -> Quality:
        """Read ``utt value...`` lines; values may stand between brackets, as in a Kaldi text archive.

        Raises:
            DataError: no lines, a key that stands twice, a value that is no finite number (or, for *take_log*,
                not above 0), or lines of different length.
        """
        row_of: dict[str, int] = {}
        rows: list[list[float]] = []
        for number, line in enumerate(read_text(rxfilename), 1):
            key, *values = [word for word in line.split() if word not in ("[", "]")] or [""]
            what = None
            try:
                row = [math.log(float(value)) if take_log else float(value) for value in values]
            except ValueError:
                row = []
            if not row or not all(map(math.isfinite, row)) or len(row) != len(rows[0] if rows else row):
                what = "malformed quality measure"
            elif key in row_of:
                what = f"{key!r} stands twice"
            if what is not None:
                columns = f"{len(rows[0])} number(s)" if rows else "one or more numbers"
                expected = f"UTT and {columns}" + (" above 0" if take_log else "")
                raise DataError(what, path=rxfilename, line=number, found=repr(line.strip()[:60]), expected=expected)
            row_of[key] = len(rows)
            rows.append(row)
        if not rows:
            raise DataError("no quality measures", path=rxfilename, expected="'UTT VALUE...' lines")
        return cls(Path(rxfilename).name, take_log, KeyIndex(list(row_of)), np.array(rows))

    def of(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Float64 (K, 2 C): the lower values of two rows (K,) and (K,), then the higher."""
        sides = [self.rows[found] for found in rows]
        return np.hstack([np.minimum(*sides), np.maximum(*sides)])

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"log {self.name}" if self.log else self.name


@dataclasses.dataclass(frozen=True)
class Calibration:
    """``llr = offset + Σ weight * score + Σ low * lower quality + Σ high * higher quality``.

    ``scores``: name and weight of each system. ``quality``: name, whether logarithms are taken, and the weights
    of the lower and of the higher values, one each per column. ``trained_on``: figures of the training list.
    """

    p_target: float
    offset: float
    scores: list[dict[str, Any]]
    quality: list[dict[str, Any]]
    trained_on: dict[str, Any]

    @property
    def of_one_score(self) -> bool:
        """Whether it needs no more than the score of one system."""
        return len(self.scores) == 1 and not self.quality

    def weights(self) -> np.ndarray:
        """All weights, in the order of the features; float64 (F,)."""
        quality = [weight for item in self.quality for weight in (*item["low"], *item["high"])]
        return np.array([item["weight"] for item in self.scores] + quality, dtype=np.float64)


def read_calibration(path: str | os.PathLike) -> Calibration:
    """Read what :func:`train_calibration_files` wrote.

    Raises:
        DataError: the file cannot be read or is no calibration.
    """
    try:
        calibration = Calibration(**json.loads("".join(read_text(path))))
        numbers = np.append(calibration.weights(), calibration.offset)
        sound = bool(np.isfinite(numbers).all()) and all(
            isinstance(item["log"], bool) and len(item["low"]) == len(item["high"]) for item in calibration.quality
        )
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise DataError("not a calibration", path=path, mend="train it with svtk calibrate or svtk fuse")
    return calibration


class _Lines:
    """Pairs and scores of a score file, as many at a time as asked for."""

    def __init__(self, path: str):
        self._blocks = in_order(partial(parse_scores, path), score_blocks(path))
        self._left: list[tuple[Pairs, np.ndarray]] = []

    def take(self, wanted: int | None = None) -> tuple[Pairs, np.ndarray] | None:
        """The next *wanted* lines, fewer at the file's end; None: a block. None when there are no more."""
        while sum(len(pairs) for pairs, _ in self._left) < (wanted or 1) and (block := next(self._blocks, None)):
            self._left.append(block)
        if not self._left:
            return None
        pairs, scores = self._left[0]
        if len(self._left) > 1:
            pairs, scores = Pairs.joined([found for found, _ in self._left]), np.concatenate([v for _, v in self._left])
        wanted = len(pairs) if wanted is None else min(wanted, len(pairs))
        rest = (pairs.part(wanted, len(pairs)), scores[wanted:])
        self._left = [rest] if len(rest[0]) else []
        return pairs.part(0, wanted), scores[:wanted]


def _joint_blocks(paths: Sequence[str]) -> Iterator[tuple[int, Pairs, np.ndarray]]:
    """Blocks of several files with the same trials in the same order: first line, the trials, scores (K, S)."""
    files, first = [_Lines(path) for path in paths], 1
    while block := files[0].take():
        own, columns = block[0], [block[1]]
        for path, file in zip(paths[1:], files[1:], strict=True):
            pairs, scores = file.take(len(own)) or (own.part(0, 0), None)
            if not pairs.same(own):
                raise _other_trials(own, pairs, first, paths[0], path)
            columns.append(scores)
        yield first, own, np.stack(columns, axis=1)
        first += len(own)
    for path, file in zip(paths[1:], files[1:], strict=True):
        if (more := file.take()) is not None:
            raise _other_trials(more[0].part(0, 0), more[0], first, paths[0], path)


def _other_trials(own: Pairs, pairs: Pairs, first: int, name: str, path: str) -> DataError:
    """The error for pairs of the file *path* that are not those of the file *name*, from line *first* on."""
    place = min(len(own), len(pairs))
    place = next((i for i in range(place) if own[i] != pairs[i]), place)
    found, expected = (repr(" ".join(side[place])) if place < len(side) else "the end" for side in (pairs, own))
    mend = "score the same trial list with every system"
    what = f"other trials than in {name}"
    return DataError(what, path=path, line=first + place, found=found, expected=expected, mend=mend)


class _Features:
    """Blocks of score files and quality measures, as what weights are multiplied with: (K, F), scores first."""

    def __init__(self, paths: Sequence[str], quality: Sequence[Quality], missing: str):
        self._paths, self._quality = paths, quality
        tables = [(side, measure.name) for measure in quality for side in (0, 1)]
        #: What the measures lack, which must be concluded after the last block.
        self.missing = MissingKeys(paths[0], tables, "add them", missing)

    def blocks(self, work: Callable[[np.ndarray, Pairs, np.ndarray], R]) -> Iterator[R]:
        """Yield what *work* gives for lines (K), pairs (K) and features (K, F) of every block; threads call it."""

        def worked(first: int, pairs: Pairs, scores: np.ndarray) -> tuple[R, int, list[dict[str, int]]]:
            lines, pairs, features, absent = self._of(first, pairs, scores)
            return work(lines, pairs, features), len(scores) - len(lines), absent

        for result, num_skipped, absent in in_order(worked, _joint_blocks(self._paths)):
            if self.missing.add(absent, num_skipped):
                yield result

    def _of(
        self, first: int, pairs: Pairs, scores: np.ndarray
    ) -> tuple[np.ndarray, Pairs, np.ndarray, list[dict[str, int]]]:
        """Lines, pairs and features of what has all measures, and the keys that measures lack."""
        lines, absent = first + np.arange(len(pairs)), []
        rows = [found for measure in self._quality for found in pairs.rows(measure.index, measure.index)]
        if rows:
            there, absent = self.missing.of(pairs, rows, first)
            if any(absent):
                lines, pairs, scores = lines[there], pairs.chosen(there), scores[there]
                rows = [found[there] for found in rows]
        sides = zip(rows[0::2], rows[1::2], strict=True)
        columns = [measure.of(found) for measure, found in zip(self._quality, sides, strict=True)]
        return lines, pairs, np.hstack([scores, *columns]), absent


def train_calibration_files(
    scores: Sequence[str],
    trials: str,
    calibration: str,
    *,
    p_target: float = 0.5,
    quality: Sequence[Quality] = (),
    missing: str = "error",
    missing_list: str | None = None,
) -> Calibration:
    """Train a calibration of one score file, or a fusion of several, on a labelled trial list.

    Args:
        scores: score files of the same trials in the same order.
        trials: labelled trials; joined by key.
        calibration: the file to write (JSON).
        p_target: prior of a target trial, as :func:`svtk.score.calibration.train_calibration`.
        quality: further measures of the utterances.
        missing: what becomes of scores of utterances without a quality measure, and of trials without a score:
            ``error``, or ``skip`` them.
        missing_list: file of the utterances without one, ``KEY enroll|test`` lines; a wxfilename.

    Raises:
        DataError: files that cannot be read or do not fit each other, or of which nothing can be learnt.
    """
    only_one("stdin", {**{f"SCORES {i}": path for i, path in enumerate(scores, 1)}, "TRIALS": trials})
    only_one("stdout", {"the calibration": calibration, "--missing-list": missing_list})
    enroll: list[str] = []
    test: list[str] = []
    lines: list[int] = []
    pieces = []
    source = _Features(scores, quality, missing)
    for numbers, block, values in source.blocks(lambda *block: block):
        pieces.append(values)
        lines += numbers.tolist()
        enroll += block.keys(0)
        test += block.keys(1)
    source.missing.conclude(len(enroll), missing_list)
    features = np.concatenate(pieces)
    scored, listed = Scores(enroll, test, features[:, 0]), read_trials(trials)
    labels = join_labels(scored, listed, scores[0], trials, lines=lines, skip_unscored=missing == "skip")
    if len(listed) > len(scored):
        log.warning("%s: %d of %d trials are learnt from", trials, len(scored), len(listed))
    names = [*scores]
    for measure in quality:
        names += [f"{measure.label} ({side})" for side in ("lower", "higher") for _ in range(measure.rows.shape[1])]
    weights, offset = train_calibration(features, labels, p_target, names)
    parts = iter(weights.tolist())
    systems = [{"name": name, "weight": next(parts)} for name in scores]
    measures = []
    for measure in quality:
        low, high = ([next(parts) for _ in range(measure.rows.shape[1])] for _ in range(2))
        measures.append({"name": measure.name, "log": measure.log, "low": low, "high": high})
    trained_on = {
        "targets": int(labels.sum()),
        "nontargets": int((~labels).sum()),
        "cllr": round(cllr(features @ weights + offset, labels), 6),
    }
    result = Calibration(p_target, offset, systems, measures, trained_on)
    for system in systems:
        if system["weight"] < 0:
            log.warning("%s has a negative weight: do higher scores mean the same speaker?", system["name"])
    log.info("%d target, %d nontarget trials; Cllr on them %.4f", *trained_on.values())
    write_text(calibration, [json.dumps(dataclasses.asdict(result), indent=2, ensure_ascii=False)])
    return result


def apply_calibration(
    calibration: str,
    scores: Sequence[str],
    llrs: str,
    *,
    quality: Sequence[Quality] = (),
    missing: str = "error",
    missing_list: str | None = None,
) -> None:
    """Write log-likelihood ratios (natural) of score files, in their order and in constant memory.

    Args:
        calibration: what :func:`train_calibration_files` wrote.
        scores: score files of the same trials in the same order, of the systems that it was trained on.
        llrs: the score file to write.
        quality: the measures it was trained with, of these utterances, in the same order.
        missing, missing_list: as :func:`train_calibration_files`.

    Raises:
        DataError: files that cannot be read, or do not fit each other or the calibration.
    """
    only_one("stdin", {f"SCORES {i}": path for i, path in enumerate(scores, 1)})
    only_one("stdout", {"LLRS": llrs, "--missing-list": missing_list})
    trained = read_calibration(calibration)
    if len(scores) != len(trained.scores):
        names = ", ".join(str(item["name"]) for item in trained.scores)
        raise DataError(
            "a calibration of other systems", path=calibration, found=f"{len(scores)} score file(s)", expected=names
        )
    given = [(measure.log, measure.rows.shape[1]) for measure in quality]
    if given != [(item["log"], len(item["low"])) for item in trained.quality]:
        wanted = [
            f"{'--log-quality' if item['log'] else '--quality'} {item['name']} ({len(item['low'])} value(s))"
            for item in trained.quality
        ]
        found = ", ".join(f"{measure.label} ({measure.rows.shape[1]} value(s))" for measure in quality) or "none"
        raise DataError("other quality measures", path=calibration, found=found, expected=", ".join(wanted) or "none")
    weights = trained.weights()

    def work(_lines: np.ndarray, pairs: Pairs, features: np.ndarray) -> tuple[int, memoryview]:
        ratios = np.full(len(pairs), trained.offset)
        for column, weight in zip(features.T, weights, strict=True):  # not by BLAS, which sums by place
            ratios += weight * column
        return len(pairs), pairs.lines(ratios)

    source, count = _Features(scores, quality, missing), 0
    with open_wxfilename(llrs) as output:
        for size, lines in with_progress(source.blocks(work), "log-likelihood ratios"):
            output.write(lines)
            count += size
        source.missing.conclude(count, missing_list)
