"""svtk describe, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_the_papers_configuration():
    words = [sys.executable, "-m", "svtk", "describe", "--json", str(CONF / "distill_sv_mixer.yaml")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    size = json.loads(done.stdout)
    assert set(size) == {"parameters", "macs", "duration", "window", "parts"}
    assert all(set(part) == {"name", "parameters", "macs"} for part in size["parts"])
    assert isinstance(size["parameters"], int) and isinstance(size["macs"], int)
    assert f"{size['parameters'] / 1e6:.2f}" == "32.07" and size["duration"] == 3.0
    blocks = [part for part in size["parts"] if part["name"].startswith("block")]
    assert [(b["parameters"], f"{b['macs'] / 1e9:.3f}") for b in blocks] == [(3_745_969, "0.632")] * 5


def test_a_model_dir_as_a_table(svtk_main, student_dir):
    done = svtk_main("describe", "--duration", "0.5", student_dir)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("part ") and "block 1" in done.stdout


def test_wrong_arguments(svtk_main, tmp_path):
    done = svtk_main("describe", tmp_path)
    assert done.code == 1 and done.stdout == ""
    assert done.stderr.startswith(f"Error: {tmp_path}: not a model directory") and done.stderr.count("\n") == 1
    assert svtk_main("describe", tmp_path / "none").code == 2
    (tmp_path / "c.yaml").write_text("student: {name: sv_mixer, num_layer: 2}\n")
    done = svtk_main("describe", tmp_path / "c.yaml")
    assert done.code == 1 and "did you mean 'num_layers'?" in done.stderr
