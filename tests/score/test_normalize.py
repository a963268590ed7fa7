"""Score normalisation from files to files against a float64 transcription of the formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter
from svtk.kaldi.trials import read_scores
from svtk.score.normalize import METHODS, normalize_scores

DIM = 6


def table(path, prefix, num_rows, seed):
    rows = np.random.default_rng(seed).normal(size=(num_rows, DIM)).astype(np.float32)
    keys = [f"{prefix}{i:03}" for i in range(num_rows)]
    with TableWriter(f"ark:{path}") as writer:
        for key, row in zip(keys, rows, strict=True):
            writer.write(key, row)
    return dict(zip(keys, rows.astype(np.float64), strict=True))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Tables e.ark (20), t.ark (30) and c.ark (60) as dicts, and 200 scores of random pairs in file s."""
    monkeypatch.chdir(tmp_path)
    tables = {name: table(f"{name}.ark", name, n, n) for name, n in (("e", 20), ("t", 30), ("c", 60))}
    rng = np.random.default_rng(0)
    lines = (f"e{rng.integers(20):03} t{rng.integers(30):03} {rng.normal():.6f}\n" for _ in range(200))
    (tmp_path / "s").write_text("".join(lines))
    return tables


def transcription(tables, method, top_n, cohort=None):
    """The formulas, trial by trial."""

    def side(vector):
        others = (tables["c"] if cohort is None else cohort).values()
        cosines = sorted((vector @ c / np.linalg.norm(vector) / np.linalg.norm(c) for c in others), reverse=True)
        best = np.array(cosines[: top_n if method == "as-norm" else None])
        return best.mean(), np.sqrt(((best - best.mean()) ** 2).mean())

    result, scores = [], read_scores("s")
    for e, t, score in zip(scores.enroll, scores.test, scores.scores, strict=True):
        (m_e, d_e), (m_t, d_t) = side(tables["e"][e]), side(tables["t"][t])
        z, t = (score - m_e) / d_e, (score - m_t) / d_t
        result.append({"z-norm": z, "t-norm": t}.get(method, (z + t) / 2))
    return np.array(result)


ARGS = ("ark:c.ark", "s", "ark:e.ark", "ark:t.ark", "n")


@pytest.mark.parametrize("method", METHODS)
def test_as_the_formula(place, method):
    normalize_scores(*ARGS, method=method, top_n=15)
    given, normalized = read_scores("s"), read_scores("n")
    assert (normalized.enroll, normalized.test) == (given.enroll, given.test)
    np.testing.assert_allclose(normalized.scores, transcription(place, method, 15), atol=1e-5)


def test_speaker_means_as_cohort(place, tmp_path):
    (tmp_path / "spk2utt").write_text("".join(f"s{i} c{i:03} c{i + 30:03}\n" for i in range(30)))
    means = {f"s{i}": (place["c"][f"c{i:03}"] + place["c"][f"c{i + 30:03}"]) / 2 for i in range(30)}
    normalize_scores(*ARGS, top_n=10, cohort_spk2utt="spk2utt")
    np.testing.assert_allclose(read_scores("n").scores, transcription(place, "as-norm", 10, means), atol=1e-5)
    (tmp_path / "spk2utt").write_text("s other\n")
    with pytest.raises(DataError, match="spk2utt: no speaker of the cohort has an embedding"):
        normalize_scores(*ARGS, cohort_spk2utt="spk2utt")


def test_one_mean_for_all(place, tmp_path):
    (tmp_path / "mean").write_text(" [ 0.3 0.2 0.1 0 -0.1 1 ]\n")
    mean = np.array([0.3, 0.2, 0.1, 0, -0.1, 1])
    normalize_scores(*ARGS, top_n=15, mean="mean")
    moved = {name: {key: row - mean for key, row in rows.items()} for name, rows in place.items()}
    np.testing.assert_allclose(read_scores("n").scores, transcription(moved, "as-norm", 15), atol=1e-5)


@pytest.mark.parametrize("lines", [1, 7])
def test_blocks_do_not_show(place, tmp_path, monkeypatch, lines):
    normalize_scores(*ARGS, top_n=15)
    expected = (tmp_path / "n").read_text()
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 20 * lines)
    normalize_scores(*ARGS, top_n=15)
    assert (tmp_path / "n").read_text() == expected


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_the_scores_make_the_whole(place, tmp_path, monkeypatch, method):
    """Whatever other utterances a part names; here tiles are lower than the tables."""
    monkeypatch.setattr("svtk.score.cohort._UTTS", 8)
    monkeypatch.setattr("svtk.score.cohort._CHUNK", 4)
    normalize_scores(*ARGS, method=method, top_n=15)
    whole, lines = (tmp_path / "n").read_text(), (tmp_path / "s").read_text().splitlines(keepends=True)
    parts = ""
    for part in (lines[:3], lines[3:50], lines[50:]):
        (tmp_path / "s").write_text("".join(part))
        normalize_scores(*ARGS, method=method, top_n=15)
        parts += (tmp_path / "n").read_text()
    assert parts == whole


def test_statistics_once_per_utterance(place, monkeypatch):
    seen = []
    from svtk.score import cohort

    statistics = cohort.Cohort.statistics
    monkeypatch.setattr(
        cohort.Cohort,
        "statistics",
        lambda self, rows, keys, name, places: seen.extend(keys) or statistics(self, rows, keys, name, places),
    )
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 20 * 9)
    normalize_scores(*ARGS, top_n=15)
    scores = read_scores("s")
    assert sorted(seen) == sorted(set(scores.enroll) | set(scores.test))


def test_saved_statistics_serve_again(place, tmp_path, monkeypatch):
    normalize_scores(*ARGS, top_n=15)
    expected = (tmp_path / "n").read_text()
    (tmp_path / "all").write_text((tmp_path / "s").read_text())
    lines = (tmp_path / "s").read_text().splitlines(keepends=True)
    (tmp_path / "s").write_text("".join(lines[:5]))
    normalize_scores(*ARGS, top_n=15, statistics="stats")
    first = (tmp_path / "stats").read_text()
    assert set(first.splitlines()[0].split()[1::3]) == {"[", "]"}  # KEY [ MEAN STD ]
    assert len(first.splitlines()) < 50
    (tmp_path / "s").write_text("".join(lines))
    normalize_scores(*ARGS, top_n=15, statistics="stats")  # those that were missing are added
    assert (tmp_path / "n").read_text() == expected
    assert set(first.splitlines()) < set((tmp_path / "stats").read_text().splitlines())
    monkeypatch.setattr("svtk.score.cohort.top_scores", None)  # nothing is computed again
    normalize_scores(*ARGS, top_n=15, statistics="stats")
    assert (tmp_path / "n").read_text() == expected


def test_statistics_of_something_else_are_refused(place, tmp_path):
    normalize_scores(*ARGS, top_n=15, statistics="stats")
    kept = (tmp_path / "stats").read_text()

    def refused(message, **changes):
        with pytest.raises(DataError, match=message):
            normalize_scores(*ARGS, **{"top_n": 15, "statistics": "stats"} | changes)
        assert (tmp_path / "stats").read_text() == kept

    refused("stats: saved statistics of another run; found other top n.*remove it", top_n=16)
    refused("found other top n", method="s-norm")
    refused("found other mean", mean="ark:e.ark")
    table("t.ark", "t", 30, 99)
    refused("found other embeddings")
    table("t.ark", "t", 30, 30)
    table("c.ark", "c", 60, 99)
    refused("found other cohort")
    table("c.ark", "c", 60, 60)
    (tmp_path / "stats").write_text(kept + "x [ 1 ]\n")
    kept = (tmp_path / "stats").read_text()
    refused(r"stats:51: malformed statistics; found 'x \[ 1 \]")
    note = json.loads((tmp_path / "stats.json").read_text())
    assert note["top_n"] == 15
    (tmp_path / "stats.json").unlink()
    refused("stats: cannot tell what these statistics are of; expected stats.json beside it")


def test_a_key_of_both_tables_with_two_meanings(place):
    table("t.ark", "e", 30, 30)
    with open("s", "w") as file:
        file.write("e000 e001 0.5\n")
    with pytest.raises(DataError, match="ark:t.ark: 'e0.*another embedding than in ark:e.ark.*leave --stats out"):
        normalize_scores(*ARGS, top_n=15, statistics="stats")
    normalize_scores(*ARGS, top_n=15)


def test_errors_name_their_place(place, tmp_path):
    text = (tmp_path / "s").read_text()

    def fails(message, **options):
        with pytest.raises(DataError, match=message):
            normalize_scores(*ARGS, **{"top_n": 15} | options)
        assert not list(tmp_path.glob("n*"))

    (tmp_path / "s").write_text(text + "e001 nobody 0.5\n")
    fails(r"s:201: 1 test key\(s\) are not in ark:t.ark; found 'nobody'. To mend: extract")
    (tmp_path / "s").write_text("nobody t001 0.5\n" + text)
    fails(r"s:1: 1 enrolment key\(s\) are not in ark:e.ark; found 'nobody'")
    (tmp_path / "s").write_text("e001 t001 nan\n" + text)
    fails("s:1: malformed score")
    (tmp_path / "s").write_text(text)
    fails("ark:c.ark: the cohort is too small; found 60; expected 61", top_n=61)
    (tmp_path / "mean").write_text(" [ 1 2 ]\n")
    fails("mean: embeddings of different dimension; found 2; expected 6, as in ark:c.ark", mean="mean")


@pytest.mark.parametrize("lines", [2, 1000])
def test_missing_keys_skipped(place, tmp_path, monkeypatch, caplog, lines):
    """The other lines are what they are without them; z-norm and t-norm ask for one side only."""
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 20 * lines)
    normalize_scores(*ARGS, top_n=15)
    others, text = (tmp_path / "n").read_text(), (tmp_path / "s").read_text().splitlines(keepends=True)
    gone = ["p t001 0.5\n", "q t002 0.5\n", "e003 r 0.5\n", "p r 0.5\n"]
    (tmp_path / "s").write_text("".join([gone[0], *text[:90], *gone[1:3], *text[90:], gone[3]]))
    skipped = {"missing": "skip", "missing_list": "missing"}
    normalize_scores(*ARGS, top_n=15, **skipped)
    assert (tmp_path / "n").read_text() == others
    assert (tmp_path / "missing").read_text() == "p enroll\nq enroll\nr test\n"
    assert "s: 2 enrolment key(s) are not in ark:e.ark: 'p', 'q'" in caplog.text
    assert "s: 4 of 204 trials are left out" in caplog.text
    for method, left, listed in (("z-norm", 201, "p enroll\nq enroll\n"), ("t-norm", 202, "r test\n")):
        normalize_scores(*ARGS, method=method, **skipped)
        assert len(read_scores("n")) == left and (tmp_path / "missing").read_text() == listed
    with pytest.raises(DataError, match=r"s:1: 2 enrolment key\(s\) are not in ark:e.ark; found 'p', 'q'. To mend"):
        normalize_scores(*ARGS, top_n=15)
    (tmp_path / "s").write_text(gone[0])
    with pytest.raises(DataError, match="s: no trial is left"):
        normalize_scores(*ARGS, top_n=15, **skipped)


def test_a_cohort_of_the_speakers_themselves_is_warned_of(place, caplog):
    normalize_scores("ark:t.ark", *ARGS[1:], top_n=15)
    assert "30 of the cohort's keys are of embeddings to be scored, too: t000, t001, t002 ..." in caplog.text
