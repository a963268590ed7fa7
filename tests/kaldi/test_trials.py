"""Trial lists of both layouts, and score files."""

from __future__ import annotations

import io

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.trials import Scores, Trials, read_scores, read_trials, write_scores, write_trials


@pytest.mark.parametrize(
    ("text", "enroll", "test", "labels"),
    [
        ("a x target\nb y nontarget\n", ["a", "b"], ["x", "y"], [True, False]),
        ("1 a x\n0 b y\n", ["a", "b"], ["x", "y"], [True, False]),
        ("1 id1/v/1.wav id2/v/2.wav\n", ["id1/v/1.wav"], ["id2/v/2.wav"], [True]),
        ("a x\nb y\n", ["a", "b"], ["x", "y"], None),
        ("1 x target\n0 y nontarget\n", ["1", "0"], ["x", "y"], [True, False]),  # keys that look like labels
        ("a x 1\nb y 0\n", ["a", "b"], ["x", "y"], [True, False]),
        ("a\tx   target", ["a"], ["x"], [True]),
    ],
)
def test_layouts_are_told_apart(tmp_path, text, enroll, test, labels):
    (tmp_path / "t").write_text(text)
    trials = read_trials(tmp_path / "t")
    assert (trials.enroll, trials.test) == (enroll, test)
    assert trials.labels is None if labels is None else trials.labels.tolist() == labels
    assert len(trials) == len(enroll)


@pytest.mark.parametrize(
    ("text", "line", "found", "expected"),
    [
        ("a x target\nb y\n", 2, "b y", "ENROLL TEST target|nontarget"),
        ("a x target\n\nb y target\n", 2, "", "ENROLL TEST target|nontarget"),
        ("a x target\nb y Target\n", 2, "b y Target", "ENROLL TEST target|nontarget"),
        ("1 a x\n2 b y\n", 2, "2 b y", "1|0 ENROLL TEST"),
        ("a x\nb y target\n", 2, "b y target", "ENROLL TEST"),
        ("a x z\n", 1, "a x z", "ENROLL TEST target|nontarget"),
        ("a\n", 1, "a", "ENROLL TEST target|nontarget"),
    ],
)
def test_a_malformed_trial_is_named_with_its_line(tmp_path, text, line, found, expected):
    (tmp_path / "t").write_text(text)
    with pytest.raises(DataError) as info:
        read_trials(tmp_path / "t")
    assert str(info.value) == f"{tmp_path}/t:{line}: malformed trial; found {found!r}; expected {expected!r}"


@pytest.mark.parametrize("read", [read_trials, read_scores])
def test_files_that_cannot_be_read(tmp_path, read):
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"a \xff x\n")
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path / "binary")
    with pytest.raises(DataError, match="cannot open: No such file"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("labels", [None, np.array([True, False])])
def test_trials_round_trip(tmp_path, capsys, monkeypatch, labels):
    trials = Trials(["a", "b"], ["x", "y"], labels)
    write_trials(tmp_path / "t", trials)
    write_trials("-", trials)
    text = (tmp_path / "t").read_text()
    assert capsys.readouterr().out == text
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    for back in (read_trials(tmp_path / "t"), read_trials("-"), read_trials(f"cat {tmp_path}/t |")):
        assert (back.enroll, back.test) == (trials.enroll, trials.test)
        assert (back.labels is None) == (labels is None)
        assert labels is None or back.labels.tolist() == labels.tolist()


def test_scores_round_trip(tmp_path, capsys):
    scores = Scores(["a", "b"], ["x", "y"], np.array([-0.25, 12.3456789]))
    write_scores(tmp_path / "s", scores)
    write_scores("-", scores)
    assert (tmp_path / "s").read_text() == capsys.readouterr().out == "a x -0.250000\nb y 12.345679\n"
    back = read_scores(tmp_path / "s")
    assert (back.enroll, back.test) == (["a", "b"], ["x", "y"])
    np.testing.assert_allclose(back.scores, scores.scores, atol=1e-6)


@pytest.mark.parametrize("line", ["a x", "a x high", "a x 1 2", ""])
def test_a_malformed_score_is_named_with_its_line(tmp_path, line):
    (tmp_path / "s").write_text(f"a x 1\n{line}\n")
    with pytest.raises(DataError, match="s:2: malformed score; found .*; expected 'ENROLL TEST SCORE'"):
        read_scores(tmp_path / "s")
