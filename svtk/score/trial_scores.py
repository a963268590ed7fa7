"""Scores of trial lists of any length, from files to a file; what ``svtk score`` runs."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.columns import parse_trials, trial_blocks
from svtk.kaldi.streams import open_wxfilename
from svtk.kaldi.text import only_one
from svtk.kaldi.trials import TrialLayout
from svtk.score.blocks import in_order, with_progress
from svtk.score.missing import MissingKeys
from svtk.score.scorers import Method, build_scorer
from svtk.score.sides import read_sides, shared_pairs

__all__ = ["Policies", "score_trials"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Policies:
    """What becomes of trials that are out of the ordinary.

    ``missing`` keys, those without embedding: ``error`` or ``skip`` their trials; ``missing_list`` is a file of them,
    ``KEY enroll|test`` lines. ``duplicates``, pairs that stand twice in the list: ``keep`` both, or ``error``, which
    holds 16 bytes a trial. ``same_utterance`` on both sides (of a model too): ``warn`` or ``error``.
    """

    missing: str = "error"
    missing_list: str | None = None
    duplicates: str = "keep"
    same_utterance: str = "warn"


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A block of trials: ``missing`` keys of either side with the lines they first stand in; the ``lines`` to write,
    of ``num_scores`` trials; ``num_skipped``; how many have the same utterance on both sides, and the first of them;
    and, if asked for, what tells pairs apart and in which lines they stand, int64 (K,) each."""

    missing: list[dict[str, int]]
    lines: memoryview = memoryview(b"")
    num_scores: int = 0
    num_skipped: int = 0
    num_same: int = 0
    first_same: str = ""
    codes: np.ndarray | None = None
    numbers: np.ndarray | None = None


def score_trials(
    trials: str,
    enroll: str,
    test: str,
    scores: str,
    method: Method | None = None,
    *,
    enroll_spk2utt: str | None = None,
    test_spk2utt: str | None = None,
    policies: Policies | None = None,
    num_threads: int | None = None,
) -> int:
    """Write the scores of a trial list, in its order; memory does not grow with it. Returns how many there are.

    Args:
        trials: trial list, labelled or not; an rxfilename.
        enroll, test: rspecifiers of embeddings (D,); one given twice is read once, so that stdin can be both.
        scores: the score file to write; a wxfilename.
        method: how; None: cosines.
        enroll_spk2utt, test_spk2utt: models of several embeddings, which the trials name; rxfilenames.
        policies: what becomes of trials that cannot be scored, or are suspicious.
        num_threads: as :func:`svtk.score.blocks.in_order`; the scores are the same for any number.

    Raises:
        DataError: a malformed trial; a key without embedding; an embedding used by a trial that is NaN, infinite
            or, where its length is normalised, zero; what *policies* make an error; inputs that cannot be read or
            do not fit each other; stdin or stdout named twice.
    """
    method, policies = method or Method(), policies or Policies()
    only_one("stdin", _inputs(trials, enroll, test, method, enroll_spk2utt, test_spk2utt))
    only_one("stdout", {"SCORES": scores, "--missing-list": policies.missing_list})
    sides = read_sides(enroll, test, enroll_spk2utt, test_spk2utt, skip_missing=policies.missing == "skip")
    pairs_of, *unsound = build_scorer(method, *sides)
    shared = shared_pairs(*sides)
    sides = [dataclasses.replace(side, rows=np.empty((0, 0))) for side in sides]  # the scorer has its own
    indices = [side.index for side in sides]
    names = [side.name for side in sides]
    missing = MissingKeys(trials, list(enumerate(names)), "extract their embeddings", policies.missing)
    failed = False

    def work(layout: TrialLayout, first: int, text: bytes) -> _Scored:
        pairs = parse_trials(trials, layout, first, text)
        rows = pairs.rows(*indices)
        there, absent = missing.of(pairs, rows, first)
        if failed or (any(absent) and policies.missing == "error"):
            return _Scored(absent)
        numbers = first + np.flatnonzero(there)  # lines
        if any(absent):
            pairs, rows = pairs.chosen(there), tuple(found[there] for found in rows)
        for found, bad, side in zip(rows, unsound, sides, strict=True):
            bad.check(found, side.table)
        values = pairs_of(*rows)
        if not (finite := np.isfinite(values)).all():
            place = int(np.argmin(finite))
            what = f"the score of {' '.join(pairs[place])!r} is not finite"
            raise DataError(what, path=trials, line=int(numbers[place]))
        same = np.flatnonzero(shared(*rows))
        first_same = f"line {numbers[same[0]]}, {' '.join(pairs[int(same[0])])!r}" if same.size else ""
        result = _Scored(absent, pairs.lines(values), len(pairs), len(there) - len(pairs), len(same), first_same)
        if policies.duplicates == "keep":
            return result
        codes = rows[0].astype(np.int64) * len(indices[1]) + rows[1]
        return dataclasses.replace(result, codes=codes, numbers=numbers)

    num_scores = num_same = 0
    first_same = ""
    seen = []
    with open_wxfilename(scores) as output:
        for block in with_progress(in_order(work, trial_blocks(trials), num_threads), "scores"):
            if not missing.add(block.missing, block.num_skipped):
                failed = True  # nothing more is scored, but the missing are counted
                continue
            if block.num_same and policies.same_utterance == "error":
                mend = "take such trials out, or allow them with --same-utterance warn"
                raise DataError(f"the same utterance on both sides: {block.first_same}", path=trials, mend=mend)
            num_same += block.num_same
            first_same = first_same or block.first_same
            if block.codes is not None:
                seen.append((block.codes, block.numbers))
            num_scores += block.num_scores
            output.write(block.lines)
        if seen and not failed:
            _refuse_duplicates(*map(np.concatenate, zip(*seen, strict=True)), trials)
        missing.conclude(num_scores, policies.missing_list)
    if num_same:
        what = "trial(s) with the same utterance on both sides, the first in"
        log.warning("%s: %d %s %s", trials, num_same, what, first_same)
    return num_scores


def _inputs(
    trials: str, enroll: str, test: str, method: Method, enroll_spk2utt: str | None, test_spk2utt: str | None
) -> dict[str, str | None]:
    """Everything that is read, by what it is called; what is given for two of them is read once."""
    return {
        "TRIALS": trials,
        "ENROLL_RSPECIFIER": enroll,
        "TEST_RSPECIFIER": None if test == enroll else test,
        "--mean": None if method.mean in (enroll, test) else method.mean,
        "--transform": method.transform,
        "--plda": method.plda,
        "--num-utts": method.num_utts,
        "--enroll-spk2utt": enroll_spk2utt,
        "--test-spk2utt": None if test_spk2utt == enroll_spk2utt else test_spk2utt,
    }


def _refuse_duplicates(codes: np.ndarray, lines: np.ndarray, trials: str) -> None:
    """Raise DataError when a pair stands twice: how many, and the first line that repeats one."""
    order = np.argsort(codes, kind="stable")
    again = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    if again.size:
        place = again[np.argmin(lines[order[again + 1]])]
        line, earlier = int(lines[order[place + 1]]), int(lines[order[place]])
        what = f"{again.size} trial(s) stand there already"
        mend = "take them out, or allow them with --duplicates keep"
        raise DataError(what, path=trials, line=line, found=f"the pair of line {earlier}", mend=mend)
