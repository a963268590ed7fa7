"""Columns of score files and trial lists against reading word by word."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.kaldi import columns
from svtk.kaldi.labelled_lines import KeyCodes, column_blocks, parse_columns

LABELS = {"target": True, "1": True, "nontarget": False, "0": False}


def read(path, what: str = "score file") -> list[tuple]:
    rows = []
    for block in column_blocks(path, what):
        found = parse_columns(path, *block)
        parts = [found.enroll, found.test, found.scores, found.labels]
        lists = [[None] * len(found) if part is None else part.tolist() for part in parts]
        lists[:2] = [[key if key is None else key.decode() for key in keys] for keys in lists[:2]]
        rows += zip(*lists, strict=True)
    return rows


word = st.text(st.sampled_from("ab1.ćé日\x01'\"\\,#"), min_size=1, max_size=4)
gap = st.sampled_from([" ", " ", " ", "  ", "\t"])
score = st.one_of(st.floats(allow_nan=False).map(repr), st.sampled_from(["inf", "-inf", "1e3", "-0", ".5", "7"]))


@given(
    st.lists(st.tuples(word, word, score, st.sampled_from(list(LABELS)), gap), min_size=1, max_size=9), st.booleans()
)
def test_lines_are_read_as_their_words(tmp_path_factory, rows, newline):
    path = tmp_path_factory.mktemp("x") / "scores"
    for columns_wanted in ((0, 1, 2), (0, 1, 2, 3), (2, 3)):
        lines = [row[4].join(row[i] for i in columns_wanted) for row in rows]
        path.write_text("\n".join(lines) + "\n" * newline)
        expected = [
            tuple(
                None if i not in columns_wanted else float(row[2]) if i == 2 else LABELS[row[3]] if i == 3 else row[i]
                for i in range(4)
            )
            for row in rows
        ]
        assert read(path) == expected


@example("1 1")  # a score and its label
@given(st.text(st.sampled_from("a1 .\n\t-e\r"), max_size=30))
def test_what_is_not_read_is_an_error_that_names_the_first_wrong_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("x") / "scores"
    path.write_bytes(text.encode())
    lines = text.removesuffix("\n").split("\n") if text else []

    width = len(lines[0].split()) if lines else 0  # 2: score and label; 3: keys and score; 4: all

    def sound(line: str) -> bool:
        words = line.split()
        try:
            if len(words) != width or width not in (2, 3, 4) or math.isnan(float(words[0 if width == 2 else 2])):
                return False
        except ValueError:
            return False
        return width == 3 or words[-1] in LABELS

    wrong = [number for number, line in enumerate(lines, 1) if not sound(line)]
    if lines and not wrong:
        assert len(read(path)) == len(lines)
        return
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.line == (wrong[0] if width == 3 else caught.value.line)


@pytest.mark.parametrize("size", [1, 16, 1 << 24])
def test_blocks_of_any_size_and_codes_of_keys(tmp_path, monkeypatch, size):
    monkeypatch.setattr(columns, "_BYTES", size)
    monkeypatch.setattr(KeyCodes, "_BATCH", 2)
    pairs = [(f"u{i % 7}", f"v{i * i % 5}") for i in range(40)]
    (tmp_path / "t").write_text("".join(f"{i % 2} {a} {b}\n" for i, (a, b) in enumerate(pairs)))
    codes, labels = KeyCodes(), []
    for block in column_blocks(tmp_path / "t", "trial list"):
        found = parse_columns(tmp_path / "t", *block, encode=True)
        codes.add(found.enroll)
        codes.add(found.test)
        labels += found.labels.tolist()
    numbers = codes.take()
    keys = codes.keys
    enroll, test = ([keys[number] for part in numbers[side::2] for number in part] for side in (0, 1))
    assert (list(zip(enroll, test, strict=True)), labels) == (pairs, [i % 2 == 1 for i in range(40)])
    assert sorted(keys) == sorted({key for pair in pairs for key in pair}) and codes.take() == []


def test_codes_stay_what_they_were():
    codes = KeyCodes()
    for words, expected in ((["b", "a", "b"], [0, 1, 0]), (["c", "a"], [2, 1]), (["a", "d", "b"], [1, 3, 0])):
        codes.add(pa.array([word.encode() for word in words], pa.binary()).dictionary_encode())
        assert [part.tolist() for part in codes.take()] == [expected]
    assert codes.keys == ["b", "a", "c", "d"]
