"""svtk train-teacher, as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svtk.models.speaker_model import load_model

SETTINGS = ["crop_duration=0.5", "batch_size=8", "max_epochs=1", "backend={name: linear, embedding_dim: 6}"]
NEW = "new_model={hidden_dim: 12, num_layers: 1, num_heads: 2, ffn_dim: 16, conv_channels: 6}"


@pytest.fixture
def words(corpus):
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train-teacher", *settings, "--valid", corpus.valid, "--valid-trials", corpus.trials, "--seed=2"]


def test_as_a_user_runs_it(words, corpus, tmp_path):
    words = [sys.executable, "-m", "svtk", *words, "--set", NEW, corpus.train, "m"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr and "speechbrain" not in done.stderr.lower()
    assert load_model(tmp_path / "m").config.teacher["source"].endswith("encoder")
    assert (tmp_path / "m/encoder/model.safetensors").exists()


def test_on_a_pretrained_encoder(svtk_main, words, wavlm_dir, corpus, tmp_path):
    done = svtk_main(*words, "--encoder", wavlm_dir, corpus.train, tmp_path / "m")
    assert (done.code, done.stdout) == (0, "")
    assert load_model(tmp_path / "m").config.teacher["source"] == wavlm_dir


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder", "/no/such"], "/no/such: no such directory"),
        (["--set", "new_model.layers=3"], "unknown key 'new_model.layers'"),
        (["--set", "student.num_layers=3"], "unknown key 'student'"),
    ],
)
def test_wrong_arguments(svtk_main, words, corpus, tmp_path, options, message):
    done = svtk_main(*words, *options, corpus.train, tmp_path / "m")
    assert (done.code, done.stdout) == (1, "") and message in done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
