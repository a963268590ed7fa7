"""run_slurm.sh and run_jobs.sh on a real Slurm (the fixture ``slurm`` starts one, or skips and says why)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from svtk.extract.embeddings import extract_embeddings
from svtk.kaldi.tables import read_vectors

ROOT = Path(__file__).resolve().parents[2]
RUNNER = str(ROOT / "utils/run_slurm.sh")


def squeue(slurm, *options: str) -> list[str]:
    done = subprocess.run(["squeue", "-h", *options], env=slurm, capture_output=True, text=True)
    return done.stdout.split()


def wait_until(true, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_array_with_a_failed_job(slurm, tmp_path):
    words = [RUNNER, "--num-threads", "2", "--max-jobs-run", "2", "JOB=1:3", "log/a.JOB.log"]
    words += ["bash", "-c", "echo JOB 'a  b' $OMP_NUM_THREADS $SLURM_CPUS_PER_TASK; test JOB -ne 2"]
    done = subprocess.run(words, cwd=tmp_path, env=slurm, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "run_slurm.sh: 1 / 3 failed, log is in log/a.*.log; first of them: log/a.2.log" in done.stderr
    for job, status in ((1, 0), (2, 1), (3, 0)):
        lines = (tmp_path / f"log/a.{job}.log").read_text().splitlines()
        assert lines[0].startswith("# bash -c ") and lines[1].startswith("# Started at ")
        assert f"{job} a  b 2 2" in lines
        assert lines[-2].endswith(" threads=2")
        assert lines[-1].startswith(f"# Ended (code {status}) at ")


def test_a_stopped_runner_cancels_its_jobs(slurm, tmp_path):
    words = [RUNNER, "JOB=1:2", "log/a.JOB.log", "sleep", "600"]
    runner = subprocess.Popen(words, cwd=tmp_path, env=slurm, stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "log/a.2.log").exists)
    runner.terminate()
    _, stderr = runner.communicate(timeout=20)
    assert runner.returncode == 1 and "was cancelled" in stderr
    wait_until(lambda: not squeue(slurm))


def test_extraction_with_a_killed_job_and_its_recovery(slurm, tmp_path, corpus, student_dir, monkeypatch):
    environment = {**slurm, "SVTK_PYTHON": sys.executable}
    log = tmp_path / "log"
    words = [str(ROOT / "bin/run_jobs.sh"), "--nj", "3", "--cmd", RUNNER, "--merge", "e.JOB.scp"]
    words += [corpus.valid, "log/extract.JOB.log"]
    words += ["svtk", "extract-embeddings", "--num-threads", "1", student_dir, "SPLIT", "ark,scp:e.JOB.ark,e.JOB.scp"]

    first = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    wait_until((log / "extract.2.log").exists)
    (array,) = set(squeue(slurm, "-o", "%F"))
    subprocess.run(["scancel", "--full", "--signal=KILL", f"{array}_2"], env=slurm, check=True)
    _, stderr = first.communicate(timeout=120)
    assert first.returncode == 1, stderr
    assert "Error: 1 of 3 jobs failed: 2; log: log/extract.2.log" in stderr
    assert "# Ended" not in (log / "extract.2.log").read_text()
    assert not (tmp_path / "e.scp").exists()

    kept = {job: (tmp_path / f"e.{job}.ark").stat().st_mtime_ns for job in (1, 3)}
    logs = {job: (log / f"extract.{job}.log").read_text() for job in (1, 3)}
    again = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "2 of 3 jobs were done before; left: 2" in again.stderr
    assert {job: (tmp_path / f"e.{job}.ark").stat().st_mtime_ns for job in (1, 3)} == kept
    assert {job: (log / f"extract.{job}.log").read_text() for job in (1, 3)} == logs

    alone = f"{tmp_path}/alone.ark"
    extract_embeddings(student_dir, corpus.valid, f"ark:{alone}")
    wanted, wanted_rows = read_vectors(f"ark:{alone}")
    monkeypatch.chdir(tmp_path)
    keys, rows = read_vectors("scp:e.scp")
    assert keys == wanted
    np.testing.assert_array_equal(rows, wanted_rows)
