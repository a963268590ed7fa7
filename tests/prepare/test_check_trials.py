"""Trial lists against the utterances they name."""

from __future__ import annotations

import re

import pytest

from data_dirs import found, save
from svtk.errors import DataError
from svtk.prepare.validate import validate_data


@pytest.mark.parametrize("voxceleb", [False, True])
@pytest.mark.parametrize(
    ("trial", "what", "place"),
    [
        (("ann-1", "bob-1", True), "a label that contradicts utt2spk", ":3: ann-1 bob-1 is target, .* 'ann' and 'bob'"),
        (("ann-1", "ann-2", False), "a trial twice, with both labels", ":3: as line 1: ann-1 ann-2"),
        (("ann-1", "ann-2", True), "a trial twice", ":3: as line 1"),
        (("ann-2", "ann-1", False), "a label that contradicts utt2spk", "is nontarget, the speakers are the same"),
        (("ann-1", "ann-1", True), "an utterance against itself", ":3: ann-1"),
        (("ann-1", "dan-1", False), "an utterance that utt2spk lacks", ":3: 'dan-1'"),
        (("dan-1", "ann-1", False), "an utterance that utt2spk lacks", ":3: 'dan-1'"),
        (("ann-1", "bob", False), "an utterance that utt2spk lacks", ":3: 'bob'"),
        (("bob-1", "cat-1", None), "malformed trial", ":3: found "),
        (("ann", "cat-1", True), "a label that contradicts utt2spk", "'ann' and 'cat'"),
        (("ann", "cat-1", False), None, None),
    ],
)
def test_trials(whole, tmp_path, voxceleb, trial, what, place):
    def line(enroll, test, label):
        if voxceleb:
            return f"{'x' if label is None else int(label)} {enroll} {test}\n"
        return f"{enroll} {test} {'x' if label is None else 'target' if label else 'nontarget'}\n"

    rows = [("ann-1", "ann-2", True), ("ann-1", "bob-2", False), trial]
    save(tmp_path / "trials", "".join(line(*row) for row in rows))
    problems = found(whole, trials=[tmp_path / "trials"])
    if what is None:
        assert problems == {}
    else:
        assert re.search(place, problems[str(tmp_path / "trials"), what][1])


def test_unlabelled_and_several_trial_lists(whole, tmp_path):
    save(tmp_path / "a", "ann-1 bob-1\n")
    save(tmp_path / "b", "ann-1 dan-1\n")
    assert list(found(whole, trials=[tmp_path / "a", tmp_path / "b"])) == [
        (str(tmp_path / "b"), "an utterance that utt2spk lacks")
    ]
    save(tmp_path / "a", "")
    with pytest.raises(DataError, match="empty"):
        validate_data(whole, trials=[tmp_path / "a"])
