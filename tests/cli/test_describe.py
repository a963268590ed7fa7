"""svtk describe, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_the_papers_configuration():
    words = [sys.executable, "-m", "svtk", "describe", "--json", str(CONF / "distill_sv_mixer.yaml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    size = json.loads(done.stdout)
    assert set(size) == {"parameters", "macs", "activations", "duration", "window", "parts"}
    counts = {"name", "parameters", "macs", "activations", "parameters_share", "macs_share"}
    assert all(set(part) == counts for part in size["parts"])
    assert isinstance(size["parameters"], int) and isinstance(size["macs"], int)
    assert f"{size['parameters'] / 1e6:.2f}" == "32.07" and size["duration"] == 3.0
    blocks = [part for part in size["parts"] if part["name"].startswith("block")]
    assert [(b["parameters"], f"{b['macs'] / 1e9:.3f}") for b in blocks] == [(3_745_969, "0.632")] * 5


def test_a_model_dir_as_a_table(svtk_main, student_dir):
    done = svtk_main("describe", "--duration", "0.5", student_dir)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("part ") and "block 1" in done.stdout


def test_a_backend_on_a_student(svtk_main, student_dir):
    """A configuration of train-backend stands on the encoder of a MODEL_DIR or of another configuration."""
    backend = CONF / "backend_mhfa.yaml"
    for student in (student_dir, CONF / "demo_distill_sv_mixer.yaml"):
        done = svtk_main("describe", "--json", "--student", student, "--set", "backend.num_heads=4", backend)
        assert (done.code, done.stderr) == (0, "")
        alone = json.loads(svtk_main("describe", "--json", student).stdout)["parts"]
        parts = json.loads(done.stdout)["parts"]
        assert [part["parameters"] for part in parts[:-1]] == [part["parameters"] for part in alone[:-1]]
        assert parts[-1]["parameters"] != alone[-1]["parameters"]
    done = svtk_main("describe", backend)
    assert done.code == 1
    assert (
        done.stderr
        == f"Error: {backend}: a backend without an encoder. To mend: name a student or encoder by --student\n"
    )


def test_a_backend_on_a_pretrained_encoder(svtk_main, wavlm_dir, tmp_path):
    """A configuration of train-teacher, on what --encoder takes."""
    (tmp_path / "teacher.yaml").write_text(f"name: wavlm\nsource: {wavlm_dir}\n")
    parts = []
    for encoder in (wavlm_dir, tmp_path / "teacher.yaml"):
        done = svtk_main("describe", "--json", "--student", encoder, CONF / "folder_teacher.yaml")
        assert (done.code, done.stderr) == (0, "")
        assert json.loads(done.stdout)["window"] == 2.0
        parts.append(json.loads(done.stdout)["parts"])
    assert parts[0] == parts[1] and [part["name"] for part in parts[0]] == ["teacher", "backend"]


def test_a_teacher_to_be_trained(svtk_main):
    done = svtk_main("describe", "--json", "--set", "new_model.num_layers=1", CONF / "demo_teacher.yaml")
    assert done.code == 0
    assert [part["name"] for part in json.loads(done.stdout)["parts"]] == ["teacher", "backend"]


def test_settings(svtk_main, student_dir):
    small = ("--set", "student={name: cycle_mlp, hidden_dim: 48}")
    done = svtk_main("describe", "--json", *small, CONF / "demo_distill_sv_mixer.yaml")
    [block, *_] = [part for part in json.loads(done.stdout)["parts"] if part["name"] == "block 1"]
    assert done.code == 0 and block["parameters"] == 9 * 48**2 + 6 * 48 + 4 * 48
    done = svtk_main("describe", *small, student_dir)
    assert done.code == 2 and "MODEL_DIR is a finished model" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 3\n", "no student here; expected a MODEL_DIR, or a configuration of distill, of"),
        ("student: {name: sv_mixer, layers: 3}\n", "unknown key 'student.layers'. To mend: did you mean 'num_layers'?"),
        ("student: {name: sv_mixer}\nbatchsize: 3\n", "unknown key 'batchsize'. To mend: did you mean 'batch_size'?"),
        ("new_model: {}\nbackend: {name: linear}\nlrr: 3\n", "unknown key 'lrr'. To mend: did you mean 'lr'?"),
        ("student: [\n", ":2: not valid YAML"),
    ],
)
def test_a_wrong_configuration(svtk_main, tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    done = svtk_main("describe", tmp_path / "c.yaml")
    assert done.code == 1 and done.stderr.startswith(f"Error: {tmp_path}/c.yaml:") and message in done.stderr


def test_wrong_arguments(svtk_main, tmp_path):
    done = svtk_main("describe", tmp_path)
    assert done.code == 1 and done.stdout == ""
    assert done.stderr.startswith(f"Error: {tmp_path}: not a model directory") and done.stderr.count("\n") == 1
    assert svtk_main("describe", tmp_path / "none").code == 2
    for duration in ("0", "-3", "nan", "inf"):
        done = svtk_main("describe", "--duration", duration, CONF / "demo_distill_sv_mixer.yaml")
        assert done.code == 2 and "expected seconds" in done.stderr
