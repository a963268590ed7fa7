"""docs/extending.md as a reader does it: the new files are put into a checkout, and the commands typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extending.md").read_text()


def block(language: str) -> str:
    [text] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return text


@pytest.fixture
def checkout(tmp_path, corpus, wavlm_dir):
    """A copy of the code and its configurations, with the demo's data in small."""
    for name in ("svtk", "bin", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in (("train", corpus.train), ("valid", corpus.valid)):
        shutil.copytree(source, tmp_path / "data" / name)
    (tmp_path / "data/trials").mkdir()
    shutil.copy(corpus.trials, tmp_path / "data/trials/valid")
    shutil.copytree(wavlm_dir, tmp_path / "exp/teacher")
    return tmp_path


def test_a_student_in_one_file_and_one_yaml(checkout):
    python, yaml = re.search(r"`(svtk/students/\w+\.py)`", PAGE)[1], re.search(r"`(conf/\w+\.yaml)`", PAGE)[1]
    (checkout / python).write_text(block("python"))
    (checkout / yaml).write_text(block("yaml"))
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        **{"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "SVTK_PYTHON": sys.executable},
    }
    words = ["bash", "-euo", "pipefail", "-c", block("sh")]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[3:5]] == ["block 1", "block 2"]
    [record] = json.loads((checkout / "exp/fnet/train.json").read_text())["history"]
    assert record["hidden_mse"] > 0 and record["sv"] > 0
    assert len((checkout / "exp/fnet/embeddings.scp").read_text().splitlines()) == 9
    assert not (ROOT / python).exists()


def test_it_is_short():
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 40


def test_every_path_of_the_page_exists():
    paths = re.findall(r"`((?:svtk|conf|egs)/[\w/.]+)`", PAGE)
    new = ("svtk/students/fnet.py", "conf/demo_distill_fnet.yaml", "svtk/cli/my_verb.py")
    assert [path for path in paths if path not in new and not (ROOT / path).exists()] == []
