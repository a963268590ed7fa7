"""Cosine scoring: values against the formula, look-up, and every way an input can be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter
from svtk.score import cosine as module
from svtk.score.cosine import cosine, score_trials


def write(path, rows: dict[str, list[float]]) -> str:
    with TableWriter(f"ark:{path}") as writer:
        for key, row in rows.items():
            writer.write(key, np.array(row, dtype=np.float32))
    return f"ark:{path}"


@pytest.fixture
def trials(tmp_path):
    path = tmp_path / "trials"
    path.write_text("a x target\nb x nontarget\na y nontarget\na a target\n")
    return path


ROWS = {"a": [1, 0], "b": [0, 2], "x": [3, 4], "y": [-5, 0]}


def test_worked_by_hand(tmp_path, trials):
    table = write(tmp_path / "e", ROWS)
    scored = score_trials(trials, table, table)
    assert scored.enroll == ["a", "b", "a", "a"]
    assert scored.test == ["x", "x", "y", "a"]
    np.testing.assert_allclose(scored.scores, [0.6, 0.8, -1, 1], atol=1e-7)


def test_the_tables_may_differ_and_hold_more_in_any_order(tmp_path, trials):
    enroll = write(tmp_path / "e", {"spare": [9, 9], "b": [0, 2], "a": [1, 0]})
    test = write(tmp_path / "t", {"y": [-5, 0], "a": [1, 0], "x": [3, 4]})
    np.testing.assert_allclose(score_trials(trials, enroll, test).scores, [0.6, 0.8, -1, 1], atol=1e-7)


def test_the_mean_is_subtracted_before_length_normalisation(tmp_path, trials):
    table, mean = write(tmp_path / "e", ROWS), write(tmp_path / "m", {"p": [1, 3], "q": [3, -1]})
    center = np.array([2.0, 1.0])

    def expected(left: str, right: str) -> float:
        u, v = np.array(ROWS[left]) - center, np.array(ROWS[right]) - center
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)

    pairs = [("a", "x"), ("b", "x"), ("a", "y"), ("a", "a")]
    scores = score_trials(trials, table, table, mean).scores
    np.testing.assert_allclose(scores, [expected(*pair) for pair in pairs], atol=1e-7)


def test_blocks_do_not_show(monkeypatch):
    generator = np.random.default_rng(0)
    enroll = generator.normal(size=(20, 8)).astype(np.float32)
    test = generator.normal(size=(30, 8)).astype(np.float32)
    left, right = generator.integers(0, 20, 101), generator.integers(0, 30, 101)
    whole = cosine(enroll, test, left, right)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, np.sum(enroll[left] * test[right], axis=1), rtol=1e-5, atol=1e-6)
    for values in (1, 24, 808):
        monkeypatch.setattr(module, "_BLOCK_VALUES", values)
        np.testing.assert_array_equal(cosine(enroll, test, left, right), whole)


def test_huge_and_tiny_vectors_keep_their_direction(tmp_path, trials):
    table = write(tmp_path / "e", {"a": [1e30, 0], "b": [0, 1e-30], "x": [3e-30, 4e-30], "y": [-3e38, 0]})
    np.testing.assert_allclose(score_trials(trials, table, table).scores, [0.6, 0.8, -1, 1], atol=1e-6)


def test_missing_keys_are_counted_and_located(tmp_path):
    (tmp_path / "trials").write_text("a x\na n1\na n2\na n1\na n3\na n4\n")
    table = write(tmp_path / "e", ROWS)
    message = r"trials:2: 4 test key\(s\) are not in ark:.*; found 'n1', 'n2', 'n3' \.\.\.\. To mend"
    with pytest.raises(DataError, match=message):
        score_trials(tmp_path / "trials", table, table)
    (tmp_path / "trials").write_text("q x\n")
    with pytest.raises(DataError, match=r"trials:1: 1 enrolment key\(s\) are not in .*; found 'q'"):
        score_trials(tmp_path / "trials", table, table)


@pytest.mark.parametrize(("bad", "what"), [([0, 0], "is zero"), ([np.nan, 1], "NaN"), ([1, np.inf], "infinity")])
def test_an_embedding_without_direction_is_named(tmp_path, trials, bad, what):
    table = write(tmp_path / "e", ROWS | {"b": bad})
    with pytest.raises(DataError, match=f"embedding 'b' .*{what}"):
        score_trials(trials, table, table)
    spare = write(tmp_path / "s", ROWS | {"spare": bad})  # no trial asks for it
    assert len(score_trials(trials, spare, spare)) == 4


def test_a_vector_that_is_the_mean_is_named(tmp_path, trials):
    table, mean = write(tmp_path / "e", ROWS), write(tmp_path / "m", {"m": ROWS["x"]})
    with pytest.raises(DataError, match="embedding 'x' is zero and has no direction after the mean"):
        score_trials(trials, table, table, mean)


def test_a_mean_with_nan_is_an_error(tmp_path, trials):
    table, mean = write(tmp_path / "e", ROWS), write(tmp_path / "m", {"m": [np.nan, 0]})
    with pytest.raises(DataError, match="the mean holds NaN"):
        score_trials(trials, table, table, mean)


@pytest.mark.parametrize("side", ["test", "mean"])
def test_dimensions_must_agree(tmp_path, trials, side):
    table, other = write(tmp_path / "e", ROWS), write(tmp_path / "o", {key: [1, 2, 3] for key in ROWS})
    with pytest.raises(DataError, match=r"o: embeddings of different dimension; found 3; expected 2"):
        score_trials(trials, table, *((other,) if side == "test" else (table, other)))
