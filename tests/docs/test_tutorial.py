"""docs/tutorial.md, every command after its installation, as a new user would type it, in the page's smaller size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
INSTALL, LARGE, SMALL, *REST = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)


def test_what_is_skipped_is_what_it_seems():
    assert INSTALL.startswith("make setup") and LARGE.startswith("num_spks=100") and SMALL.startswith("num_spks=20")
    assert len(LARGE.splitlines()) == len(SMALL.splitlines()) == 1


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The directory it was typed in, and what it printed."""
    place = tmp_path_factory.mktemp("tutorial")
    (place / "bin").mkdir()
    svtk = place / "bin/svtk"
    svtk.write_text(f'#!/bin/sh\nexec {sys.executable} -m svtk "$@"\n')
    svtk.chmod(0o755)
    env = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    script = ["bash", "-euo", "pipefail", "-c", SMALL + "".join(REST)]
    ended = subprocess.run(script, cwd=place, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return place, ended.stdout


def test_it_leads_to_a_det_curve(done):
    place, _ = done
    assert "DET curves" in (place / "report.html").read_text()
    assert (place / "figures/det_test.svg").read_text().lstrip().startswith("<?xml")


def test_it_measures_both_models(done):
    _, printed = done
    assert len(re.findall(r"^EER +\d+\.\d\d %", printed, re.M)) == 2  # of the student; of both, compared
    assert "data/test: 48 utterances, 6 speakers" in printed


def test_it_ends_with_two_decisions_and_where_they_came_from(done):
    _, printed = done
    assert len(re.findall(r"^llr +-?\d", printed, re.M)) == 2
    assert len(re.findall(r"^decision +(?:same|different)", printed, re.M)) == 2
    assert re.search(r"^ +svtk train-teacher --config demo_teacher", printed, re.M)
