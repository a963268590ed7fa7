"""svtk distill, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from svtk.models.speaker_model import load_model

CONFIG = {
    **{"crop_duration": 0.5, "batch_size": 8, "max_epochs": 1},
    "frontend": {"name": "waveform_conv", "channels": 6},
    "student": {"name": "sv_mixer", "num_layers": 1, "hidden_dim": 8, "group_dim": 4},
    "backend": {"name": "linear", "embedding_dim": 6},
}


@pytest.fixture
def words(corpus, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    data = ["--train", corpus.train, "--valid", corpus.valid, "--valid-trials", corpus.trials]
    return ["distill", "--config", str(tmp_path / "config.yaml"), *data]


def test_as_a_user_runs_it(words, wavlm_dir, corpus, tmp_path):
    options = ["--teacher", wavlm_dir, "--noise", corpus.noise, "--seed", "3", "--set", "student.num_layers=2"]
    words = [sys.executable, "-m", "svtk", *words, *options, "m"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if "epoch 1/1: sv " in line and "valid EER" in line]
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr and "speechbrain" not in done.stderr.lower()
    assert load_model(tmp_path / "m").config.student["num_layers"] == 2
    assert json.loads((tmp_path / "m/train.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--set", "studnet.num_layers=2"], 1, "unknown key 'studnet'. To mend: did you mean 'student'?"),
        (["--set", "student.num_layer=2"], 1, "unknown key 'student.num_layer'. To mend: did you mean 'num_layers'?"),
        (["--set", "lr"], 1, "malformed --set; found 'lr'; expected KEY.SUBKEY=VALUE"),
        ([], 1, "distillation needs --teacher, --targets or both"),
        (["--targets", "/no/such"], 2, "Directory '/no/such' does not exist"),
        (["--teacher", "/no/such"], 1, "/no/such: no such directory"),
        (["--teacher", "wavlm", "--noise", "."], 1, "no noise here"),
        (["--teacher", "wavlm", "--seed", "-1"], 2, "--seed"),
        (["--teacher", "wavlm", "--device", "gpu"], 2, "found 'gpu', expected cpu, cuda or cuda:NUMBER"),
        (["--teacher", "wavlm", "--device", "cuda:99"], 2, "no 'cuda:99' here, where torch sees"),
    ],
)
def test_wrong_arguments(svtk_main, words, wavlm_dir, tmp_path, options, code, message):
    options = [wavlm_dir if x == "wavlm" else x for x in options]
    done = svtk_main(*words, *options, tmp_path / "m")
    assert (done.code, done.stdout) == (code, "") and message in done.stderr
    assert code == 2 or (done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1)
    assert not (tmp_path / "m/model.safetensors").exists()


def test_a_configuration_is_named_in_its_errors(svtk_main, words, tmp_path):
    (tmp_path / "config.yaml").write_text("max_epoch: 3\n")
    done = svtk_main(*words, tmp_path / "m")
    assert (
        done.stderr == f"Error: {tmp_path}/config.yaml: unknown key 'max_epoch'. To mend: did you mean 'max_epochs'?\n"
    )


@pytest.mark.parametrize(("name", "text"), [("utt2spk", "s0-0 s0\n"), ("wav.scp", "s0-0\n")])
def test_a_data_directory_whose_files_disagree(svtk_main, words, wavlm_dir, corpus, tmp_path, name, text):
    from svtk.kaldi.datadir import read_data_dir, write_data_dir

    write_data_dir(tmp_path / "data", read_data_dir(corpus.train).utterances)
    (tmp_path / "data" / name).write_text(text)
    words[words.index("--train") + 1] = str(tmp_path / "data")
    done = svtk_main(*words, "--teacher", wavlm_dir, tmp_path / "m")
    assert done.code == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"Error: {tmp_path}/data/") and ":" in done.stderr.split("/data/")[1].split(" ")[0]
