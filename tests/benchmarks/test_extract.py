"""benchmarks/extract.py, run as a user runs it; of its figures only that they are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_speed_and_memory(student_dir, corpus):
    words = [sys.executable, str(ROOT / "benchmarks/extract.py"), "--model", student_dir, "--corpus", corpus.valid]
    words += ["--utts", "3", "--rounds", "1", "--lists", "2", "4", "--min-ratio", "0", "--max-growth", "9"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"4 utterances: peak \d+ MiB", done.stdout)
    assert re.search(r"extract-embeddings reaches \d+% of the model alone", done.stdout)
