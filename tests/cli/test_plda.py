"""``svtk train-plda`` and ``adapt-plda``, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svtk.kaldi.plda import read_matrix, read_plda, read_vector
from svtk.kaldi.tables import TableWriter
from svtk.score.lda import Preparation, train_lda
from svtk.score.plda import adapt_plda, train_plda


@pytest.fixture
def place(tmp_path, monkeypatch):
    """20 speakers with 4 utterances each: e.ark, e.scp, spk2utt, utt2spk; gives the rows (80, 5)."""
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(20, 1, 5)) * 2 + rng.normal(size=(20, 4, 5)) + 3).reshape(80, 5).astype(np.float32)
    utts = [f"s{i // 4:02}-{i % 4}" for i in range(80)]
    with TableWriter(f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp") as writer:
        for utt, row in zip(utts, rows, strict=True):
            writer.write(utt, row)
    (tmp_path / "utt2spk").write_text("".join(f"{utt} {utt[:3]}\n" for utt in utts))
    lines = (f"s{s:02} " + " ".join(utts[4 * s : 4 * s + 4]) + "\n" for s in range(20))
    (tmp_path / "spk2utt").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    return rows


SPEAKERS = np.repeat(np.arange(20), 4)


def same(left, right):
    for name in ("mean", "transform", "psi"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=1e-9, atol=1e-12)


def test_a_whole_backend(svtk_main, place):
    done = svtk_main(
        *("train-plda", "--mean-out=mean.vec", "--lda-dim", 3, "--lda-out=lda/transform.mat"),
        *("ark:spk2utt", "scp:e.scp", "plda"),
    )
    assert (done.code, done.stdout) == (0, ""), done.stderr
    mean, lda = read_vector("mean.vec"), read_matrix("lda/transform.mat")
    np.testing.assert_allclose(mean, place.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(lda, train_lda(place - mean, SPEAKERS, 3), rtol=1e-4, atol=1e-5)
    prepared = Preparation(mean, lda).apply(place)
    same(read_plda("plda"), train_plda(prepared, SPEAKERS))
    done = svtk_main(
        *("adapt-plda", "--mean=mean.vec", "--lda", "lda/transform.mat", "--within-covar-scale=0.75"),
        *("--between-covar-scale=0.25", "--mean-diff-scale", "0.5", "--text", "plda", "ark:e.ark", "adapted"),
    )
    assert (done.code, done.stdout) == (0, ""), done.stderr
    scales = {"within_covar_scale": 0.75, "between_covar_scale": 0.25, "mean_diff_scale": 0.5}
    same(read_plda("adapted"), adapt_plda(read_plda("plda"), prepared, **scales))
    assert Path("adapted").read_text().startswith("<Plda>")


def test_utt2spk_and_streams(place):
    """Bare PLDA; utt2spk instead of spk2utt, embeddings by stdin."""
    words = ["train-plda", "--no-length-norm", "--num-iters=4", "utt2spk", "ark:-", "plda"]
    with open("e.ark", "rb") as stdin:
        done = subprocess.run([sys.executable, "-m", "svtk", *words], stdin=stdin, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    same(read_plda("plda"), train_plda(place, SPEAKERS, 4))


def test_the_mean_may_be_a_table(svtk_main, place):
    assert svtk_main("train-plda", "--mean-out=m", "spk2utt", "scp:e.scp", "plda").code == 0
    assert svtk_main("adapt-plda", "--mean=m", "plda", "scp:e.scp", "a").code == 0
    assert svtk_main("adapt-plda", "--mean=scp:e.scp", "plda", "scp:e.scp", "b").code == 0
    for name in ("mean", "transform", "psi"):
        np.testing.assert_allclose(getattr(read_plda("a"), name), getattr(read_plda("b"), name), atol=1e-4)


def test_what_is_left_out_is_counted(svtk_main, place, caplog):
    lines = Path("utt2spk").read_text().splitlines(keepends=True)
    Path("utt2spk").write_text("".join([*lines[2:], "gone s00\n"]))
    assert svtk_main("train-plda", "utt2spk", "scp:e.scp", "plda").code == 0
    assert "1 utterance(s) have no embedding and are left out" in caplog.text
    assert "2 embedding(s) have no speaker and are left out" in caplog.text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--lda-dim=3", "spk2utt", "scp:e.scp", "plda"], 2, "--lda-dim and --lda-out go together"),
        (["--lda-dim=9", "--lda-out=l", "spk2utt", "scp:e.scp", "plda"], 1, "found 9; expected 1 to 5"),
        (
            ["other", "scp:e.scp", "plda"],
            1,
            "other: no utterance has an embedding; found 'u1'; expected keys as 's00-0'",
        ),
        (["twice", "scp:e.scp", "plda"], 1, "twice: 's00-0' belongs to both 'a' and 'b'"),
        (["-", "ark:-", "plda"], 1, "cannot both be stdin"),
    ],
)
def test_train_errors(svtk_main, place, words, code, message):
    Path("other").write_text("spk u1 u2\n")
    Path("twice").write_text("a s00-0 s00-1\nb s00-0\n")
    done = svtk_main("train-plda", *words)
    assert done.code == code and message in done.stderr and done.stdout == ""
    assert not any(Path(name).exists() for name in ("plda", "l", "plda.part"))


def test_adapt_errors(svtk_main, place):
    Path("plda").write_text("<Plda>  [ 1 2 ]\n [\n 1 0\n 0 1 ]\n [ 1 1 ]\n</Plda>")
    done = svtk_main("adapt-plda", "plda", "scp:e.scp", "out")
    assert done.code == 1 and "Error: the embeddings do not fit the PLDA; found shape (80, 5)" in done.stderr
    done = svtk_main("adapt-plda", "e.ark", "scp:e.scp", "out")
    assert done.code == 1 and "Error: e.ark: not a PLDA file" in done.stderr
    assert svtk_main("adapt-plda", "--within-covar-scale=-1", "plda", "scp:e.scp", "out").code == 2
