"""Trial lists scored from files to a file: worked by hand, policies, and the same bytes however the work is shared."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.plda import Plda, write_matrix, write_plda
from svtk.kaldi.tables import TableWriter
from svtk.kaldi.trials import read_scores
from svtk.score.scorers import METHODS, MODES, Method
from svtk.score.trial_scores import Policies, score_trials


def write(name: str, rows: dict[str, list[float]]) -> str:
    with TableWriter(f"ark:{name}") as writer:
        for key, row in rows.items():
            writer.write(key, np.array(row, dtype=np.float32))
    return f"ark:{name}"


ROWS = {"a": [1, 0], "b": [0, 2], "x": [3, 4], "y": [-5, 0]}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Table e of ROWS, and four trials of it."""
    monkeypatch.chdir(tmp_path)
    Path("trials").write_text("a x target\nb x nontarget\na y nontarget\na b target\n")
    return write("e", ROWS)


def scored(*tables: str, trials: str = "trials", **options) -> np.ndarray:
    score_trials(trials, *(tables or ("ark:e", "ark:e")), "scores", **options)
    return read_scores("scores").scores


HAND = [0.6, 0.8, -1, 0]


def test_worked_by_hand():
    np.testing.assert_allclose(scored(), HAND, atol=1e-6)
    assert Path("scores").read_text().startswith("a x 0.600000\nb x 0.800000\n")
    np.testing.assert_allclose(scored(method=Method("inner-product")), [3, 8, -5, 0], atol=1e-6)


def test_the_tables_may_differ_and_hold_more_in_any_order():
    enroll = write("l", {"spare": [9, 9], "b": [0, 2], "a": [1, 0]})
    test = write("t", {"y": [-5, 0], "b": [0, 1], "x": [3, 4]})
    np.testing.assert_allclose(scored(enroll, test), HAND, atol=1e-6)


def test_mean_and_transform_come_before_length_normalisation():
    center, matrix = np.array([2.0, 1.0]), np.array([[1.0, 2.0, 0.25], [0.0, -1.0, 0.5], [1.0, 1.0, 0.0]])
    write_matrix("transform.mat", matrix)
    moved = {key: matrix[:, :2] @ (row - center) + matrix[:, 2] for key, row in ROWS.items()}

    def expected(left: str, right: str) -> float:
        return moved[left] @ moved[right] / np.linalg.norm(moved[left]) / np.linalg.norm(moved[right])

    mean = write("m", {"p": [1, 3], "q": [3, -1]})
    scores = scored(method=Method(mean=mean, transform="transform.mat"))
    np.testing.assert_allclose(scores, [expected(*pair) for pair in ("ax", "bx", "ay", "ab")], atol=1e-6)
    scores = scored(method=Method(mean="ark:e"))  # which is read for the sides already
    center = np.mean(list(ROWS.values()), axis=0)
    u, v = ROWS["a"] - center, ROWS["x"] - center
    assert scores[0] == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-6)


def test_huge_and_tiny_vectors_keep_their_direction():
    table = write("h", {"a": [1e30, 0], "b": [0, 1e-30], "x": [3e-30, 4e-30], "y": [-3e38, 0]})
    np.testing.assert_allclose(scored(table, table), HAND, atol=1e-6)
    with pytest.raises(DataError, match="trials:3: the score of 'a y' is not finite"):
        scored(table, table, method=Method("inner-product"))


# Missing


def test_missing_keys_are_counted_and_located(monkeypatch):
    Path("trials").write_text("a x\na n1\na n2\na n1\na n3\na n4\n")
    for size in (5, 1 << 20):
        monkeypatch.setattr("svtk.kaldi.columns._BYTES", size)
        message = r"trials:2: 4 test key\(s\) are not in ark:e; found 'n1', 'n2', 'n3' \.\.\.\. To mend"
        with pytest.raises(DataError, match=message):
            scored()
        assert not list(Path().glob("scores*"))
    Path("trials").write_text("a x\na q\nq x\n")
    with pytest.raises(DataError, match=r"trials:3: 1 enrolment key\(s\) are not in ark:e; found 'q'"):
        scored()


@pytest.mark.parametrize("size", [5, 1 << 20])
def test_missing_keys_skipped(monkeypatch, caplog, size):
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", size)
    Path("trials").write_text("a n target\na x target\nq n target\nb x target\na n target\nq y nontarget\n")
    scored(policies=Policies(missing="skip", missing_list="missing"))
    assert Path("scores").read_text() == "a x 0.600000\nb x 0.800000\n"
    assert Path("missing").read_text() == "q enroll\nn test\n"
    assert "1 enrolment key(s) are not in ark:e: 'q'" in caplog.text
    assert "1 test key(s) are not in ark:e: 'n'" in caplog.text
    assert "trials: 4 of 6 trials are left out" in caplog.text
    Path("trials").write_text("a n\n")
    with pytest.raises(DataError, match="trials: no trial is left; expected keys of ark:e"):
        scored(policies=Policies(missing="skip"))
    Path("trials").write_text("a x\n")
    scored(policies=Policies(missing="skip", missing_list="missing"))
    assert Path("missing").read_text() == ""


# Embeddings that cannot be scored


@pytest.mark.parametrize(("bad", "what"), [([0, 0], "is zero"), ([np.nan, 1], "NaN"), ([1, np.inf], "infinity")])
def test_an_embedding_without_direction_is_named(bad, what):
    table = write("bad", ROWS | {"b": bad})
    with pytest.raises(DataError, match=f"ark:bad: embedding 'b' .*{what}"):
        scored(table, table)
    Path("spk2utt").write_text("m a y\nb a b\n")
    Path("models").write_text("m x\nb x\n")
    for mode, message in (("mean", "mean embedding 'b' holds"), ("max", "embedding 'b' .*, of 'b'")):
        if mode == "mean" and what == "is zero":
            continue  # the mean is not
        with pytest.raises(DataError, match=message):
            scored(table, table, trials="models", enroll_spk2utt="spk2utt", method=Method(mode=mode))
    Path("models").write_text("m x\n")
    spare = write("s", ROWS | {"spare": bad})  # no trial asks for it
    assert len(scored(spare, spare)) == 4
    assert len(scored(table, table, trials="models", enroll_spk2utt="spk2utt")) == 1


def test_a_vector_that_is_the_mean_is_named():
    with pytest.raises(DataError, match="embedding 'x' is zero and has no direction after the mean"):
        scored(method=Method(mean=write("m", {"m": ROWS["x"]})))
    with pytest.raises(DataError, match="the mean holds NaN"):
        scored(method=Method(mean=write("m", {"m": [np.nan, 0]})))


@pytest.mark.parametrize("side", ["test", "mean"])
def test_dimensions_must_agree(side):
    other = write("o", {key: [1, 2, 3] for key in ROWS})
    with pytest.raises(DataError, match=r"o: embeddings of different dimension; found 3; expected 2"):
        scored("ark:e", *((other,) if side == "test" else ("ark:e",)), method=Method(mean=other))


# Suspicious trials


@pytest.mark.parametrize("size", [5, 1 << 20])
def test_duplicates(monkeypatch, size):
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", size)
    Path("trials").write_text("a x\nb x\nx a\na y\nb x\na x\na y\n")
    assert len(scored()) == 7
    Path("scores").unlink()
    message = r"trials:5: 3 trial\(s\) stand there already; found the pair of line 2"
    with pytest.raises(DataError, match=message):
        scored(policies=Policies(duplicates="error"))
    assert not list(Path().glob("scores*"))
    Path("trials").write_text("a x\nx a\na n\nb x\na n\n")  # what is skipped is not looked at
    assert len(scored(policies=Policies(duplicates="error", missing="skip"))) == 3


@pytest.mark.parametrize("other", ["ark:e", "ark:f"])
def test_the_same_utterance_on_both_sides(caplog, other):
    write("f", {key: ROWS[key] for key in ("y", "x", "b", "a")})
    Path("trials").write_text("a n\na x\nb b\nx a\ny y\n")
    assert len(scored("ark:e", other, policies=Policies(missing="skip"))) == 4
    assert "trials: 2 trial(s) with the same utterance on both sides, the first in line 3, 'b b'" in caplog.text
    with pytest.raises(DataError, match="trials: the same utterance on both sides: line 3, 'b b'"):
        scored("ark:e", other, policies=Policies(missing="skip", same_utterance="error"))
    caplog.clear()
    Path("spk2utt").write_text("m a b\nn x b\n")
    Path("models").write_text("m x\nm a\nn b\nn a\n")
    scored("ark:e", other, trials="models", enroll_spk2utt="spk2utt")
    assert "2 trial(s) with the same utterance on both sides, the first in line 2, 'm a'" in caplog.text
    caplog.clear()
    Path("models").write_text("a n\nb m\nx m\na m\n")
    scored(other, "ark:e", trials="models", test_spk2utt="spk2utt")
    assert "2 trial(s) with the same utterance on both sides, the first in line 2, 'b m'" in caplog.text


# The same bytes however the work is shared


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """120 embeddings of 24 dimensions, 6-utterance models, 700 trials of both, a PLDA model."""
    where = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    keys = [f"utt{i:03}" for i in range(120)]
    with TableWriter(f"ark,scp:{where}/e.ark,{where}/e.scp") as writer:
        for key in keys:
            writer.write(key, rng.normal(size=24).astype(np.float32))
    (where / "spk2utt").write_text("".join(f"m{i} {' '.join(keys[i * 6 : i * 6 + i % 6 + 1])}\n" for i in range(20)))
    pairs = rng.integers(0, 120, (700, 2))
    (where / "trials").write_text("".join(f"{keys[e]} {keys[t]}\n" for e, t in pairs))
    (where / "models").write_text("".join(f"m{e % 20} m{t % 20} nontarget\n" for e, t in pairs))
    write_plda(where / "plda", Plda(rng.normal(size=24), rng.normal(size=(24, 24)), np.sort(rng.random(24) * 9)[::-1]))
    write_matrix(where / "transform.mat", rng.normal(size=(24, 24)))
    return where


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("mode", [None, *MODES])
def test_blocks_and_threads_do_not_show(corpus, monkeypatch, caplog, name, mode):
    caplog.set_level(logging.ERROR)
    plda = f"{corpus}/plda" if name == "plda" else None
    method = Method(name, mode or "mean", transform=f"{corpus}/transform.mat", plda=plda)
    models = {} if mode is None else dict.fromkeys(("enroll_spk2utt", "test_spk2utt"), f"{corpus}/spk2utt")
    words = (f"{corpus}/{'trials' if mode is None else 'models'}", f"scp:{corpus}/e.scp", f"ark:{corpus}/e.ark")
    assert score_trials(*words, "whole", method, **models) == 700
    whole = Path("whole").read_bytes()
    monkeypatch.setattr("svtk.kaldi.columns._BYTES", 333)
    monkeypatch.setattr("svtk.score.cosine._BLOCK_VALUES", 100)
    monkeypatch.setattr("svtk.score.plda._BLOCK_VALUES", 100)
    monkeypatch.setattr("svtk.score.scorers._PAIRS", 10)
    monkeypatch.setattr("svtk.score.lda._ROWS", 17)
    monkeypatch.setattr("svtk.score.lda._CHUNK", 5)
    for num_threads in (1, 3):
        score_trials(*words, "parts", method, **models, num_threads=num_threads)
        assert Path("parts").read_bytes() == whole
