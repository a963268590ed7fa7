"""Progress: plain lines in a log, nothing lost, nothing on stdout."""

from __future__ import annotations

import logging

import pytest

from svtk import progress as module
from svtk.progress import progress


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    monkeypatch.delenv("SVTK_PROGRESS", raising=False)


def test_items_pass_through_and_the_end_is_said(caplog, capsys):
    caplog.set_level(logging.INFO)
    assert list(progress([3, 1, 2], "count")) == [3, 1, 2]
    assert [record.message.split(" in ")[0] for record in caplog.records] == ["count: 3 utt"]
    assert capsys.readouterr().out == ""


def test_long_work_says_how_far_it_is(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    list(progress(iter("abcd"), "letters", total=4, unit="letter"))
    lines = [record.message for record in caplog.records]
    assert lines == [
        "letters: 2/4 letter, 40 s, 40 s left",
        "letters: 4/4 letter, 80 s, 0 s left",
        "letters: 4 letter in 100.0 s",
    ]


def test_a_terminal_gets_a_bar(monkeypatch, capsys, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(progress(range(3), "count")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert "count" in captured.err and "3/3" in captured.err and captured.out == ""
    assert not caplog.records
