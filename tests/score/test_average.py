"""Means of embeddings: the definition, the order, the memory, and what is missing."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter, read_table
from svtk.score.average import average_embeddings, speaker_means

RNG = np.random.default_rng(5)
UTTS = [f"{spk}-{i}" for spk in "abc" for i in range(4)]
ROWS = {utt: RNG.standard_normal(5) for utt in UTTS}
SPK2UTT = {spk: [f"{spk}-{i}" for i in range(4)] for spk in "cab"}  # not in the table's order


def definition(spk2utt, rows):
    return {spk: sum(rows[utt] for utt in utts) / len(utts) for spk, utts in spk2utt.items()}


def test_the_definition_in_any_order_of_the_table():
    expected = definition(SPK2UTT, ROWS)
    for order in (UTTS, UTTS[::-1], RNG.permutation(UTTS).tolist()):
        found = list(speaker_means(SPK2UTT, ((utt, ROWS[utt]) for utt in order)))
        assert [(spk, count) for spk, _, count in found] == [("c", 4), ("a", 4), ("b", 4)]
        for spk, mean, _ in found:
            assert mean.dtype == np.float32
            np.testing.assert_allclose(mean, expected[spk], rtol=1e-6, atol=1e-7)


def test_an_utterance_may_enrol_several_models():
    models = {"m1": ["a-0", "b-0"], "m2": ["b-0"], "m3": ["c-3", "a-0"]}
    found = {spk: mean for spk, mean, _ in speaker_means(models, ROWS.items())}
    expected = definition(models, ROWS)
    for spk in models:
        np.testing.assert_allclose(found[spk], expected[spk], rtol=1e-6, atol=1e-7)


def test_sorted_tables_are_answered_as_they_come():
    """A speaker's mean is out before the next speaker's second utterance is read."""
    read = []

    def table():
        for spk in range(100):
            for utt in ("x", "y"):
                read.append(spk)
                yield f"{spk}-{utt}", np.ones(3)

    means = speaker_means({str(spk): [f"{spk}-x", f"{spk}-y"] for spk in range(100)}, table())
    for spk in range(100):
        assert next(means)[0] == str(spk) and read[-1] == spk


def test_what_is_missing_is_said_once(caplog):
    rows = {utt: row for utt, row in ROWS.items() if utt not in ("a-1", "c-0") and utt[0] != "b"}
    with caplog.at_level(logging.WARNING):
        found = {spk: (mean, count) for spk, mean, count in speaker_means(SPK2UTT, rows.items())}
    assert list(found) == ["c", "a"] and found["a"][1] == 3
    np.testing.assert_allclose(found["a"][0], (rows["a-0"] + rows["a-2"] + rows["a-3"]) / 3, rtol=1e-6)
    assert [record.message for record in caplog.records] == [
        "6 utterance(s) have no embedding and are left out: c-0, a-1, b-0 ...",
        "1 speaker(s) have none and are left out: b",
    ]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TableWriter("ark,scp:e.ark,e.scp") as writer:
        for utt, row in ROWS.items():
            writer.write(utt, row.astype(np.float32))
    (tmp_path / "spk2utt").write_text("".join(f"{spk} {' '.join(utts)}\n" for spk, utts in SPK2UTT.items()))
    return tmp_path


def test_length_normalised(place):
    assert average_embeddings("spk2utt", "scp:e.scp", "ark:m.ark", length_normalize=True) == 3
    expected = definition(SPK2UTT, {utt: row / np.linalg.norm(row) for utt, row in ROWS.items()})
    found = dict(read_table("ark:m.ark"))
    assert list(found) == ["c", "a", "b"]
    for spk in expected:
        np.testing.assert_allclose(found[spk], expected[spk], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", ["ark:more.ark", "scp:more.scp", "ark:cat more.ark |"])
def test_entries_of_nobody_do_not_matter(place, form):
    """Whatever they hold."""
    with TableWriter("ark,scp:more.ark,more.scp") as writer:
        for utt, row in ROWS.items():
            writer.write(f"other-{utt}", np.full((2, 3), np.nan))
            writer.write(utt, row.astype(np.float32))
    average_embeddings("spk2utt", "scp:e.scp", "ark:m.ark")
    expected = (place / "m.ark").read_bytes()
    average_embeddings("spk2utt", form, "ark:m.ark")
    assert (place / "m.ark").read_bytes() == expected


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "x [ 1 2 ]\n\nb [ 3 ]\n",
            {},
            "no utterance of any speaker has an embedding; expected keys as 'c-0' in spk2utt",
        ),
        ("a-0 [ 1 2 ]\na-1 [ 1 ]\n", {}, "entry 'a-1' does not fit; found (1,); expected a vector of 2"),
        ("a-0 [\n 1 2 ]\n", {}, "entry 'a-0' does not fit; found (1, 2); expected a vector"),
        ("a-0 [ 1 nan ]\n", {}, "embedding 'a-0' holds NaN or infinity"),
        ("a-0 [ 0 0 ]\n", {"length_normalize": True}, "embedding 'a-0' is zero and has no direction"),
    ],
)
def test_what_cannot_be_averaged(place, text, options, message):
    (place / "bad.txt").write_text(text)
    with pytest.raises(DataError) as raised:
        average_embeddings("spk2utt", "ark:bad.txt", "ark,scp:m.ark,m.scp", "ark,t:n.txt", **options)
    assert message in str(raised.value)
    assert not list(place.glob("[mn].*"))
