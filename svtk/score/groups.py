"""Trials in groups (sex, condition, bins of duration), and the speakers of trials: what small files say of keys.

A grouping file has lines ``KEY VALUE`` or ``ENROLL TEST VALUE``, told apart by the number of words.

- ``KEY`` is what trials name, an utterance or a model; or, with an utt2spk, the speaker of it (spk2gender). The group
  of a trial is the value of both its sides, or, where they differ, both values in the alphabet's order: ``f``, ``m``,
  ``f/m``.
- Values that are numbers can be put into bins. The lower one of a trial's two sides counts (utt2dur: the shorter
  utterance), and the group is ``<2``, ``2-5`` (2 or more, below 5) or ``>=5``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.text import read_text
from svtk.score.bootstrap import TrialSpeakers
from svtk.score.labels import LabelledScores

__all__ = ["Groups", "read_groups", "read_utt2spk", "trial_speakers"]

_MOST = 100  # groups


@dataclasses.dataclass(frozen=True)
class Groups:
    """The group of each of N trials: integers (N,), places in ``names``."""

    names: list[str]
    of: np.ndarray


def _read_values(path: str, widths: Sequence[int], expected: str) -> tuple[int, dict[tuple[str, ...], str]]:
    """Words to a line, and the last word of each line by the others."""
    values: dict[tuple[str, ...], str] = {}
    width = 0
    for number, line in enumerate(read_text(path), 1):
        *key, value = line.split() or [""]
        width = width or len(key) + 1
        if len(key) + 1 != width or width not in widths:
            raise DataError("malformed line", path=path, line=number, found=repr(line.strip()[:60]), expected=expected)
        if values.setdefault(tuple(key), value) != value:
            what = f"{' '.join(key)!r} stands there with another value already"
            raise DataError(what, path=path, line=number, mend="remove one of the lines")
    if not values:
        raise DataError("no lines", path=path, expected=expected)
    return width, values


def read_utt2spk(path: str) -> dict[str, str]:
    """Speaker of every utterance, ``UTT SPK`` lines of an rxfilename; a speaker's own name, which trials may name as a
    model, is of that speaker, too.

    Raises:
        DataError: the file cannot be read, or a line is no such one or contradicts another.
    """
    found = {key[0]: spk for key, spk in _read_values(path, (2,), "'UTT SPK' lines")[1].items()}
    return {**{spk: spk for spk in found.values()}, **found}


def _of_keys(scored: LabelledScores, find: Callable[[str], str | None], path: str, what: str, mend: str) -> list[str]:
    """What *find* finds for each key of the trials.

    Raises:
        DataError: it finds none for some.
    """
    found = [find(key) for key in scored.keys]
    used = np.zeros(len(found), dtype=bool)
    used[scored.enroll], used[scored.test] = True, True
    absent = [key for key, value, needed in zip(scored.keys, found, used.tolist(), strict=True) if needed and not value]
    if absent:
        examples = ", ".join(map(repr, absent[:3])) + (" ..." if len(absent) > 3 else "")
        raise DataError(f"{len(absent)} key(s) of the trials have no {what}", path=path, found=examples, mend=mend)
    return [value or "" for value in found]


def trial_speakers(scored: LabelledScores, utt2spk: dict[str, str], path: str) -> TrialSpeakers:
    """Speakers of both sides of all trials, those of no trial not counted.

    Args:
        scored: with keys.
        utt2spk: of :func:`read_utt2spk`.
        path: its name, for messages.

    Raises:
        DataError: a key without speaker, or a trial whose label contradicts the speakers.
    """
    spks = _of_keys(scored, utt2spk.get, path, "speaker", "add them")
    numbers = np.unique(spks, return_inverse=True)[1].astype(np.int32)
    enroll, test = numbers[scored.enroll], numbers[scored.test]
    if (wrong := np.flatnonzero((enroll == test) != scored.labels)).size:
        first = int(wrong[0])
        pair = [scored.keys[side[first]] for side in (scored.enroll, scored.test)]
        says = "target" if scored.labels[first] else "nontarget"
        what = f"{wrong.size} trial(s) are labelled otherwise than their speakers say"
        found = f"{' '.join(pair)!r}, {says}, of {spks[scored.enroll[first]]!r} and {spks[scored.test[first]]!r}"
        raise DataError(what, path=path, found=found, mend="mend the labels or the speakers")
    present, places = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    enroll, test = places.astype(np.int32).reshape(2, -1)
    return TrialSpeakers(enroll, test, len(present))


def read_groups(
    path: str, scored: LabelledScores, *, utt2spk: dict[str, str] | None = None, bins: Sequence[float] = ()
) -> Groups:
    """The groups of a file's values; every trial is in one.

    Args:
        path: a grouping file, an rxfilename.
        scored: with keys.
        utt2spk: of :func:`read_utt2spk`.
        bins: rising edges, for values that are all numbers; others are taken as they are.

    Raises:
        DataError: a malformed file, trials of which it says nothing, or more groups than a reader can want.
    """
    width, values = _read_values(path, (2, 3), "'KEY VALUE' or 'ENROLL TEST VALUE'")
    spks = utt2spk or {}
    numbers = _numbers(values) if bins else None
    if width == 3:
        words, codes = np.unique(_of_trials(scored, values, path), return_inverse=True)
        sides = (codes, codes)
    else:

        def find(key: str) -> str | None:
            return values.get((key,)) or values.get((spks.get(key, ""),))

        mend = "add them, or name the speakers' file with --utt2spk, if these are values of speakers"
        words, codes = np.unique(_of_keys(scored, find, path, "value", mend), return_inverse=True)
        sides = (codes[scored.enroll], codes[scored.test])
    names, of = _combined(words.tolist(), *sides) if numbers is None else _binned(words.tolist(), *sides, numbers, bins)
    if len(names) > _MOST:
        mend = "put numbers into bins: --bins 2,5,10"
        raise DataError("too many groups", path=os.fspath(path), found=str(len(names)), mend=mend)
    return Groups(names, of)


def _numbers(values: dict[tuple[str, ...], str]) -> dict[str, float] | None:
    """The numbers that all values say; None where one says none."""
    try:
        numbers = {value: float(value) for value in values.values()}
    except ValueError:
        return None
    return None if any(map(math.isnan, numbers.values())) else numbers


def _of_trials(scored: LabelledScores, values: dict[tuple[str, ...], str], path: str) -> np.ndarray:
    """Values (N,) of a file that has one for each trial."""
    sides = (map(scored.keys.__getitem__, side.tolist()) for side in (scored.enroll, scored.test))
    found = [values.get(pair) for pair in zip(*sides, strict=True)]
    if None in found:
        first = found.index(None)
        pair = f"{scored.keys[scored.enroll[first]]} {scored.keys[scored.test[first]]}"
        raise DataError(f"{found.count(None)} trial(s) have no value", path=path, found=repr(pair), mend="add them")
    return np.array(found)


def _combined(words: list[str], enroll: np.ndarray, test: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names and groups (N,) of two sides' places (N,) in rising *words*."""
    pairs, of = np.unique(np.minimum(enroll, test) * len(words) + np.maximum(enroll, test), return_inverse=True)
    both = [(words[pair // len(words)], words[pair % len(words)]) for pair in pairs.tolist()]
    return [low if low == high else f"{low}/{high}" for low, high in both], of


def _binned(
    words: list[str], enroll: np.ndarray, test: np.ndarray, numbers: dict[str, float], bins: Sequence[float]
) -> tuple[list[str], np.ndarray]:
    """Names and groups (N,) of two sides' places (N,) in *words*, which say *numbers*."""
    of_word = np.array([numbers.get(word, np.inf) for word in words])  # words of keys in no trial say none
    names = [f"<{bins[0]:g}", *(f"{low:g}-{high:g}" for low, high in zip(bins, bins[1:], strict=False))]
    return [*names, f">={bins[-1]:g}"], np.digitize(np.minimum(of_word[enroll], of_word[test]), bins)
