"""svtk train-backend, as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svtk.models.speaker_model import load_model


@pytest.fixture
def words(corpus):
    settings = ["batch_size=8", "max_epochs=1", "backend={name: linear, embedding_dim: 5}"]
    settings = [word for setting in settings for word in ("--set", setting)]
    return ["train-backend", *settings, "--valid", corpus.valid, "--valid-trials", corpus.trials]


def test_as_a_user_runs_it(words, student_dir, corpus, tmp_path):
    words = [sys.executable, "-m", "svtk", *words, "--student", student_dir, corpus.train, "m"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr and "speechbrain" not in done.stderr.lower()
    assert load_model(tmp_path / "m").embedding_dim == 5


def test_wrong_arguments(svtk_main, words, student_dir, corpus, tmp_path):
    done = svtk_main(*words, "--student", corpus.train, corpus.train, tmp_path / "m")
    assert (done.code, done.stdout) == (1, "") and "not a model directory" in done.stderr
    assert svtk_main(*words, corpus.train, tmp_path / "m").code == 2
    done = svtk_main(*words, "--student", student_dir, "--set", "backend.name=liner", corpus.train, tmp_path / "m")
    assert done.code == 1 and "did you mean 'linear'?" in done.stderr and done.stderr.count("\n") == 1
