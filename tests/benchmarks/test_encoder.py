"""benchmarks/encoder.py, run as a user runs it; its times are not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_missed_goal_is_reported_with_a_profile():
    options = ["--threads=1", "--batches=1", "--seconds=0", "--max-ratio=0"]
    words = [sys.executable, str(ROOT / "benchmarks/encoder.py"), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert all(name in done.stdout for name in ("pre-norm layer", "bare products", "block, as trained"))
    assert "(at most 0)" in done.stdout and ": missed" in done.stdout
    assert "mkldnn::_convolution_pointwise" in done.stdout
