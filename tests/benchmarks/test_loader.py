"""benchmarks/loader.py and targets.py, run as a user runs them; of their figures only that they are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from svtk.kaldi.datadir import Utterance, write_data_dir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path):
    """Two utterances of 4 s."""
    rng, utterances = np.random.default_rng(0), []
    for i in range(2):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(64_000), 16_000)
        utterances.append(Utterance(f"s{i}-a", f"s{i}", str(path), f"s{i}-a"))
    return str(write_data_dir(tmp_path / "data", utterances).path)


def run(script, *words):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--seconds", "0", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loader(data):
    out = run("loader.py", "--least", "3", "--copies", "1", "--sharded", "20", data)
    for name in ("wav", "flac", "ogg", "opus"):
        assert re.search(rf"^\| {name} \| \d+ \| \d+ \| \d+\.\d+ \|$", out, re.MULTILINE)
    for name in ("files", "shards"):
        assert re.search(rf"^\| {name} \| \d+ \| \d+ \|$", out, re.MULTILINE)
    assert re.search(r"^\| clip \| \d+ \| \d\.\d+ \|$", out, re.MULTILINE)


def test_targets(data, wavlm_dir):
    out = run("targets.py", "--teacher", wavlm_dir, data)
    assert re.search(r"^\| none \| \d+\.\d \| \d+ \| \d+ \| 0\.00e\+00 \| 0\.00e\+00 \|$", out, re.MULTILINE)
    [auto] = re.findall(r"^\| auto .*\| (\S+) \|$", out, re.MULTILINE)
    assert 0 < float(auto) < 0.01
