"""benchmarks/table1.py, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_beside_the_paper():
    words = [sys.executable, str(ROOT / "benchmarks/table1.py"), "--markdown"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    layers, models = rows[2:8], rows[10:]
    assert [row[0] for row in layers] == [
        *("transformer", "its products aside", "mlp_mixer", "cycle_mlp", "conv_mixer", "sv_mixer")
    ]
    assert all(abs(float(row[3]) - 1) <= 0.01 for row in layers if row[3])
    assert all(abs(float(row[6]) - 1) <= 0.03 for row in layers[1:])
    assert [row[0] for row in models] == ["5", "17"] and all(abs(float(row[3]) - 1) <= 0.02 for row in models)
