"""egs/voxceleb/run.sh with the small configurations of tests/recipe/conf, each time in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["CONF", "RUN", "command", "commands", "run", "run_stage", "start"]

RUN = Path(__file__).resolve().parents[2] / "egs/voxceleb/run.sh"
CONF = Path(__file__).resolve().parents[1] / "recipe/conf"


def command(where: Path, *options: str, corpus: str = "demo") -> list[str]:
    return [
        *("bash", str(RUN), "--corpus", corpus, "--conf-dir", str(CONF), "--num-valid-spks", "2", "--nj", "1"),
        "--export=false",  # but for its own test, below
        *("--data", str(where / "data"), "--exp", str(where / "exp"), *options),
    ]


def start(words: list[str], **options) -> subprocess.Popen:
    environment = {**os.environ, "SVTK_PYTHON": sys.executable}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=environment, **pipes, **options)


def run(where: Path, *options: str, corpus: str = "demo", **how) -> tuple[int, str, str]:
    process = start(command(where, *options, corpus=corpus), **how)
    stdout, stderr = process.communicate(timeout=600)
    return process.returncode, stdout, stderr


def run_stage(where: Path, number: int, *options: str, corpus: str = "demo") -> tuple[str, str]:
    """Run one stage that must succeed; returns stdout and stderr."""
    status, stdout, stderr = run(where, "--stage", str(number), "--stop-stage", str(number), *options, corpus=corpus)
    assert status == 0, stderr
    assert [line for line in stderr.splitlines() if line[8:15] == " stage "] == [
        line for line in stderr.splitlines() if line[8:].startswith(f" stage {number}: ")
    ]
    return stdout, stderr


def commands(stderr: str) -> list[str]:
    """The svtk verbs that were run."""
    return [line.split()[3] for line in stderr.splitlines() if line[8:].startswith(" $ svtk ")]
