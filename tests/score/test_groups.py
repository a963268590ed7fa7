"""Groups and speakers of trials, from small files about keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.score.groups import read_groups, read_utt2spk, trial_speakers
from svtk.score.labels import LabelledScores

PAIRS = [("a1", "a2"), ("a1", "b1"), ("b1", "c1"), ("c1", "a2")]


def scored(pairs=PAIRS, labels=None) -> LabelledScores:
    keys = sorted({key for pair in pairs for key in pair}) + ["of no trial"]
    enroll, test = (np.array([keys.index(pair[side]) for pair in pairs]) for side in (0, 1))
    if labels is None:
        labels = np.array([e[0] == t[0] for e, t in pairs])
    return LabelledScores(np.arange(float(len(pairs))), labels, enroll, test, keys)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("utt2spk").write_text("a1 a\na2 a\nb1 b\nc1 c\n")


def groups(text: str, **options) -> list[str]:
    Path("g").write_text(text)
    found = read_groups("g", scored(), **options)
    return [found.names[place] for place in found.of]


def test_words_of_utterances():
    assert groups("a1 m\na2 m\nb1 f\nc1 f\nq x\n") == ["m", "f/m", "f", "f/m"]


def test_words_of_speakers():
    speakers = read_utt2spk("utt2spk")
    assert groups("a m\nb f\nc f\n", utt2spk=speakers) == ["m", "f/m", "f", "f/m"]
    assert groups("a m\nb f\nc f\na2 f\n", utt2spk=speakers) == [
        "f/m",
        "f/m",
        "f",
        "f",
    ]  # its own


def test_words_of_trials():
    assert groups("a1 a2 x\na1 b1 y\nb1 c1 x\nc1 a2 z\nc1 b1 w\n") == ["x", "y", "x", "z"]


def test_numbers_in_bins():
    text = "a1 1\na2 5\nb1 2\nc1 1e3\n"
    assert groups(text, bins=[2, 5]) == ["<2", "<2", "2-5", ">=5"]
    assert groups(text) == ["1/5", "1/2", "1e3/2", "1e3/5"]
    assert groups("a1 m\na2 m\nb1 f\nc1 7\n", bins=[2])[0] == "m"  # not all are numbers
    Path("g").write_text(text)
    assert read_groups("g", scored(), bins=[2, 5]).names == ["<2", "2-5", ">=5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "g: no lines"),
        ("a1 m\na2\n", "g:2: malformed line; found 'a2'"),
        ("a1 m\na2 b1 m\n", "g:2: malformed line"),
        ("a1 m f x\n", "g:1: malformed line"),
        ("a1 m\na1 f\n", "g:2: 'a1' stands there with another value already"),
        ("a1 m\n", r"g: 3 key\(s\) of the trials have no value; found 'a2', 'b1', 'c1'\. To mend: add them, or name"),
        ("a1 a2 m\n", r"g: 3 trial\(s\) have no value; found 'a1 b1'"),
    ],
)
def test_files_that_say_too_little(text, message):
    with pytest.raises(DataError, match=f"^{message}"):
        groups(text)


def test_too_many_groups():
    pairs = [(f"u{i}", f"u{i}") for i in range(101)]
    Path("g").write_text("".join(f"u{i} {i}\n" for i in range(101)))
    with pytest.raises(DataError, match="g: too many groups; found 101. To mend: .*--bins"):
        read_groups("g", scored(pairs))


def test_speakers_of_trials():
    found = trial_speakers(scored(), read_utt2spk("utt2spk"), "utt2spk")
    assert (found.enroll.tolist(), found.test.tolist(), found.num_spks) == ([0, 0, 1, 2], [0, 1, 2, 0], 3)


def test_a_trial_may_name_a_speaker():
    found = trial_speakers(scored([("a", "a2"), ("b", "a2")], np.array([True, False])), read_utt2spk("utt2spk"), "x")
    assert (found.enroll.tolist(), found.test.tolist(), found.num_spks) == ([0, 1], [0, 0], 2)


def test_speakers_that_contradict_labels_or_are_missing():
    speakers = read_utt2spk("utt2spk")
    with pytest.raises(DataError, match=r"^x: 1 trial\(s\) are labelled otherwise .* 'b1 c1', target, of 'b' and 'c'"):
        trial_speakers(scored(labels=np.array([True, False, True, False])), speakers, "x")
    with pytest.raises(DataError, match=r"^x: 1 key\(s\) of the trials have no speaker; found 'q'"):
        trial_speakers(scored([("a1", "q")]), speakers, "x")
