"""Score files in blocks: the same whatever the block, and every line that is wrong named."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.score_blocks import read_score_blocks, score_lines
from svtk.kaldi.trials import read_scores, write_scores

TEXT = "".join(f"e{i % 3} t{i} {i / 7 - 1:.6f}\n" for i in range(10))


@pytest.mark.parametrize("lines", [1, 3, 5, 10, 100])
def test_blocks_are_the_file(tmp_path, monkeypatch, lines):
    monkeypatch.setattr("svtk.kaldi.score_blocks._LINES", lines)
    (tmp_path / "s").write_text(TEXT)
    whole, blocks = read_scores(tmp_path / "s"), list(read_score_blocks(tmp_path / "s"))
    assert [first for first, _ in blocks] == list(range(1, 11, lines))
    assert sum((block.enroll for _, block in blocks), []) == whole.enroll
    assert sum((block.test for _, block in blocks), []) == whole.test
    np.testing.assert_array_equal(np.concatenate([block.scores for _, block in blocks]), whole.scores)
    assert "".join(line + "\n" for _, block in blocks for line in score_lines(block)) == TEXT


def test_lines_are_those_of_write_scores(tmp_path):
    (tmp_path / "s").write_text("a b 1e3\na c -0.00000049\n")
    scores = read_scores(tmp_path / "s")
    write_scores(tmp_path / "t", scores)
    assert "".join(f"{line}\n" for line in score_lines(scores)) == (tmp_path / "t").read_text()


@pytest.mark.parametrize("bad", ["a b", "a b c d", "a b x", "a b nan", "a b inf", "", "a b 1 2"])
def test_a_wrong_line_is_named(tmp_path, monkeypatch, bad):
    monkeypatch.setattr("svtk.kaldi.score_blocks._LINES", 4)
    lines = TEXT.splitlines()
    lines[6] = bad
    (tmp_path / "s").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"s:7: malformed score; found '{bad}'; expected 'ENROLL TEST SCORE'"):
        list(read_score_blocks(tmp_path / "s"))


def test_an_empty_file(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(DataError, match="s: the score file is empty"):
        list(read_score_blocks(tmp_path / "s"))
