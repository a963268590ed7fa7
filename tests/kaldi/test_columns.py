"""Blocks of trial lists and score files: what the readers of whole files give, whatever the block."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi import columns
from svtk.kaldi.columns import KeyIndex, Pairs, parse_trials, read_score_blocks, trial_blocks
from svtk.kaldi.trials import read_scores, read_trials, write_scores

TRIALS = {
    "kaldi": "a x target\nbb y nontarget\na yyy 1\n",
    "voxceleb": "1 a x\n0 bb y\n1 a yyy\n",
    "unlabelled": "a x\nbb y\na yyy",
    "tabs and more": "a\tx  target\n bb   y nontarget \r\na\x0by 0\n",
    "beyond ASCII": "é x\nbb\u00a0ÿ\na\u2003yyy\n",
    "control characters": "a\x01b x\nbb\x7f y\x1cbb y\x02\n".replace("\x1c", "\n"),
    "keys like labels": "1 x target\n0 y nontarget\n",
    "carriage returns": "a x target\r\nbb y\tnontarget \r\n a yyy 1\r",
    "a mark that is not the first": "a\ufeff x\n\ufeffbb y\n",
}
SCORES = "".join(f"e{i % 3} t{i} {i / 7 - 1:.6f}\n" for i in range(10))


def pairs_of(path) -> list[tuple[str, str]]:
    found = []
    for layout, first, text in trial_blocks(path):
        assert first == len(found) + 1
        block = parse_trials(path, layout, first, text)
        assert list(zip(block.keys(0), block.keys(1), strict=True)) == [block[i] for i in range(len(block))]
        found += [block[i] for i in range(len(block))]
    return found


@pytest.mark.parametrize("size", [1, 7, 20, 1 << 20])
@pytest.mark.parametrize("text", TRIALS.values(), ids=TRIALS.keys())
def test_trials_as_they_are_read_whole(tmp_path, monkeypatch, size, text):
    monkeypatch.setattr(columns, "_BYTES", size)
    (tmp_path / "t").write_text(text)
    whole = read_trials(tmp_path / "t")
    assert pairs_of(tmp_path / "t") == list(zip(whole.enroll, whole.test, strict=True))
    assert pairs_of(f"cat {tmp_path}/t |") == pairs_of(str(tmp_path / "t"))


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        *("a x target\nb y\n", "a x target\n\nb y target\n", "a x target\nb y Target\n", "1 a x\n2 b y\n", "a\n"),
        *("a x\nb y target\n", "a x z\n", "a x\n b\n", "a x y target\n", "\n", "a x\nb y z q\n", "a\u00a0x\nb\n"),
        *("a x\né \n", "a x\nb y\n\n", "a x target\nb y target target\n"),
    ],
)
def test_a_malformed_trial_is_named_as_ever(tmp_path, monkeypatch, size, text):
    monkeypatch.setattr(columns, "_BYTES", size)
    (tmp_path / "t").write_text(text)
    with pytest.raises(DataError) as expected:
        read_trials(tmp_path / "t")
    with pytest.raises(DataError) as found:
        pairs_of(tmp_path / "t")
    assert str(found.value) == str(expected.value)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_BYTES", 6)
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"a x\nb y\na \xff\n")
    for read in (pairs_of, lambda path: list(read_score_blocks(path))):
        with pytest.raises(DataError, match="empty: the (trial list|score file) is empty"):
            read(tmp_path / "empty")
        with pytest.raises(DataError, match="cannot open: No such file"):
            read(tmp_path / "nowhere")
        with pytest.raises(DataError, match="failed with exit status 3"):
            read("exit 3 |")
        for text in ("\ufeffa x 1\n", "\ufeffa x 1"):
            (tmp_path / "marked").write_text(text)
            with pytest.raises(DataError, match="marked:1: it begins with a byte order mark"):
                read(tmp_path / "marked")
    with pytest.raises(DataError, match="binary:3: not UTF-8"):
        pairs_of(tmp_path / "binary")
    monkeypatch.setattr(columns, "_LONGEST_LINE", 1000)
    with pytest.raises(DataError, match=r"zero \|:2: a line of 1000 bytes or more"):
        pairs_of("echo a x; cat /dev/zero |")


@pytest.mark.parametrize("size", [1, 40, 70, 1 << 20])
def test_scores_as_they_are_read_whole(tmp_path, monkeypatch, size):
    monkeypatch.setattr(columns, "_BYTES", size)
    (tmp_path / "s").write_text(SCORES.replace(" 0.1", " +.1").replace("e2", "e\x01").replace("e1 t7", "e1\tt7 "))
    whole, found = read_scores(tmp_path / "s"), list(read_score_blocks(tmp_path / "s"))
    assert sum((block.keys(0) for _, block, _ in found), []) == whole.enroll
    assert sum((block.keys(1) for _, block, _ in found), []) == whole.test
    np.testing.assert_array_equal(np.concatenate([scores for *_, scores in found]), whole.scores)
    (tmp_path / "s").write_text(SCORES)
    assert b"".join(block.lines(scores) for _, block, scores in read_score_blocks(tmp_path / "s")).decode() == SCORES


@pytest.mark.parametrize("bad", ["a b", "a b c d", "a b x", "a b nan", "a b inf", "a b 1e400", "", "a b 1 2"])
def test_a_wrong_score_is_named(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(columns, "_BYTES", 60)
    lines = SCORES.splitlines()
    lines[6] = bad
    (tmp_path / "s").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"s:7: malformed score; found '{bad}'; expected 'ENROLL TEST SCORE'"):
        list(read_score_blocks(tmp_path / "s"))


def block(*pairs: tuple[str, str]) -> Pairs:
    data = np.frombuffer("".join(f"{e} {t} " for e, t in pairs).encode(), np.uint8)
    return Pairs(data, np.flatnonzero(data == 32))


PAIRS = [("a", "long"), ("é", "b"), ("longer", "a"), ("b", "b")]


@pytest.mark.parametrize("many", [0, 1 << 19])
def test_rows_of_keys(monkeypatch, many):
    monkeypatch.setattr(columns, "_MANY", many)
    left, right = KeyIndex(["b", "a", "é"]), KeyIndex(["a", "lon", "b"])
    rows = block(*PAIRS).rows(left, right)
    assert [found.tolist() for found in rows] == [[1, 2, -1, 0], [-1, 2, 0, 2]]
    rows = block(*PAIRS).rows(left, left)
    assert [found.tolist() for found in rows] == [[1, 2, -1, 0], [-1, 0, 1, 0]]


def test_rows_of_many_keys(monkeypatch):
    """By hashes, and by Arrow where two keys have the same one; a word with a key's hash is not that key."""
    keys = [f"k{i}" for i in range(3000)]
    pairs = block(*[(f"k{i * 7 % 3500}", f"k{i * 11 % 3500}") for i in range(5000)])
    expected = [found.tolist() for found in pairs.rows(*[KeyIndex(keys)] * 2)]
    assert min(expected[0]) == -1 and max(expected[1]) == 2999
    monkeypatch.setattr(columns, "_MANY", 10)
    assert [found.tolist() for found in pairs.rows(*[KeyIndex(keys)] * 2)] == expected
    index = KeyIndex(keys)
    monkeypatch.setattr(columns, "_hashed", lambda words: np.full(len(words), index._hashes[5]))
    rows = pairs.rows(index, index)
    assert set(rows[1].tolist()) == {-1, int(index._order[5])}  # this side names every key
    assert [found.tolist() for found in pairs.rows(*[KeyIndex(keys)] * 2)] == expected


def test_parts_of_blocks():
    whole = block(*PAIRS)
    for start in range(5):
        for stop in range(start, 5):
            part = whole.part(start, stop)
            assert [part[i] for i in range(len(part))] == PAIRS[start:stop]
            assert part.same(block(*PAIRS[start:stop]))
    assert Pairs.joined([whole.part(0, 1), whole.part(1, 1), whole.part(1, 4)]).same(whole)
    assert whole.chosen(np.array([True, False, False, True])).same(block(PAIRS[0], PAIRS[3]))
    assert not whole.same(block(*PAIRS[:3], ("b", "c"))) and not whole.same(whole.part(0, 3))
    assert not block(("a", "bc")).same(block(("ab", "c")))


def test_numbers_as_python_writes_them(tmp_path):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.normal(size=30000) * 10.0 ** rng.integers(-8, 20, 30000),
            rng.normal(size=10000).astype(np.float32),
            (np.arange(-3000, 3000) + 0.5) / 1e6,  # next to ties
            np.arange(-500, 500) / 128e0,  # ties
            [0, -0.0, -1e-9, 5e-7, 2**51 / 1e6, -(2**52) / 1e6, 1e300, np.nan, -np.inf],
        ]
    )
    pairs = block(*[("a", "b")] * len(values))
    lines = bytes(pairs.lines(values)).decode().splitlines()
    assert lines == [f"a b {value:.6f}" for value in values.tolist()]
    (tmp_path / "s").write_text("a b 1e3\na c -0.00000049\n")
    write_scores(tmp_path / "t", read_scores(tmp_path / "s"))
    ((_, found, scores),) = read_score_blocks(tmp_path / "s")
    assert bytes(found.lines(scores)).decode() == (tmp_path / "t").read_text()
