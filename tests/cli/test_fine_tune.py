"""svtk fine-tune, as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svtk.models.speaker_model import load_model


@pytest.fixture
def words(corpus):
    settings = ["batch_size=8", "max_epochs=1", "crop_duration=0.8", "sv_loss.margin=0.3"]
    settings = [word for setting in ["sv_loss.name=aam_softmax", *settings] for word in ("--set", setting)]
    return ["fine-tune", *settings, "--valid", corpus.valid, "--valid-trials", corpus.trials]


def test_as_a_user_runs_it(words, student_dir, corpus, tmp_path):
    words = [sys.executable, "-m", "svtk", *words, "--model", student_dir, corpus.train, "m"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr and "speechbrain" not in done.stderr.lower()
    assert "epoch 1/1: sv " in done.stderr
    assert load_model(tmp_path / "m").config == load_model(student_dir).config


@pytest.mark.parametrize(
    ("model", "options", "code", "message"),
    [
        ("student", ["--set", "crop_duration=0.2"], 1, "crops are shorter than a window of the model; found"),
        ("student", ["--set", "sv_loss.name=aam_sofmax"], 1, "did you mean 'aam_softmax'?"),
        ("train", [], 1, "not a model directory"),
        ("/no/such", [], 2, "Directory '/no/such' does not exist"),
    ],
)
def test_wrong_arguments(svtk_main, words, student_dir, corpus, tmp_path, model, options, code, message):
    model = {"student": student_dir, "train": corpus.train}.get(model, model)
    done = svtk_main(*words, *options, "--model", model, corpus.train, tmp_path / "m")
    assert (done.code, done.stdout) == (code, "") and message in done.stderr
    assert code == 2 or (done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1)
    assert not (tmp_path / "m/model.safetensors").exists()
