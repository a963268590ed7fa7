"""Whether a trial list fits the utterances of a data directory."""

from __future__ import annotations

import os
from collections.abc import Mapping

from svtk.errors import DataError
from svtk.kaldi.trials import trial_lines
from svtk.prepare.problems import Problems

__all__ = ["check_trials"]


def check_trials(trials: str | os.PathLike, utt2spk: Mapping[str, str], problems: Problems) -> None:
    """Add what is wrong with a trial list, of either layout, to *problems*.

    Lines are well formed, both sides are utterances (the enrol side may be a speaker: a model of all its
    utterances), no trial stands twice, none is of an utterance with itself, and labels are what the speakers say.

    Args:
        trials: the list (a path, ``-`` or ``command |``).
        utt2spk: speaker by utterance.
        problems: gets what is found.

    Raises:
        DataError: the list cannot be read.
    """
    name = os.fspath(trials)
    speakers = set(utt2spk.values())
    first: dict[tuple[str, str], tuple[int, bool | None]] = {}

    def add(what: str, line: int, found: str, mend: str) -> None:
        problems.add(name, what, f"{name}:{line}: {found}", mend)

    for number, trial in enumerate(trial_lines(name), 1):
        if isinstance(trial, DataError):
            add("malformed trial", number, f"found {trial.found}; expected {trial.expected}", "correct the line")
            continue
        enroll, test, label = trial
        line, other = first.setdefault((enroll, test), (number, label))
        if line != number:
            what = "a trial twice" if other == label else "a trial twice, with both labels"
            add(what, number, f"as line {line}: {enroll} {test}", "keep one of the two lines")
        if enroll == test:
            add("an utterance against itself", number, enroll, "remove the trial")
        known = True
        for side in (enroll, test):
            if side not in utt2spk and (side is test or side not in speakers):
                known = False
                mend = "add it to the data directory, or remove the trial"
                add("an utterance that utt2spk lacks", number, repr(side), mend)
        if known and label is not None:
            same = utt2spk.get(enroll, enroll) == utt2spk[test]
            if same != label:
                found = f"{enroll} {test} is {'target' if label else 'nontarget'}, the speakers are "
                found += "the same" if same else f"{utt2spk.get(enroll, enroll)!r} and {utt2spk[test]!r}"
                add("a label that contradicts utt2spk", number, found, "correct the label, or utt2spk")
