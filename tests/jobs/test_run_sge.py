"""utils/run_sge.sh with a stand-in for Grid Engine: qsub records its words and runs the array, qstat, qdel."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = str(ROOT / "utils/run_sge.sh")

QSUB = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$SGE_FAKE/words"
echo 'Your job-array 4711.1-3:1 ("a.sh") has been submitted'
range=1:1
while [ $# -gt 1 ]; do
  case $1 in
    -t) range=$2; array=1 ;;
    -o) out=$2 ;;
  esac
  shift
done
touch "$SGE_FAKE/4711"
(
  for ((i = ${range%:*}; i <= ${range#*:}; i++)); do
    SGE_TASK_ID=${array:+$i} OMP_NUM_THREADS= bash "$1" >> "$out" 2>&1
  done
  rm "$SGE_FAKE/4711"
) > /dev/null 2>&1 &
"""


@pytest.fixture
def sge(tmp_path):
    fake = tmp_path / "fake"
    fake.mkdir()
    scripts = {
        "qsub": QSUB,
        "qstat": '#!/bin/sh\n[ "$1" = -j ] && [ -e "$SGE_FAKE/$2" ]\n',
        "qdel": '#!/bin/sh\necho "$@" > "$SGE_FAKE/deleted"\nrm -f "$SGE_FAKE/$1"\n',
    }
    for name, text in scripts.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}", "SGE_FAKE": str(fake)}

    def start(*words: str) -> subprocess.Popen:
        return subprocess.Popen([RUNNER, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    return start


def run(sge, *words: str) -> tuple[int, str]:
    process = sge(*words)
    _, stderr = process.communicate(timeout=30)
    return process.returncode, stderr


def submitted(tmp_path) -> list[str]:
    return (tmp_path / "fake/words").read_text().splitlines()


def test_what_qsub_is_asked_for(sge, tmp_path):
    options = ["--mem", "4G", "--num-threads", "2", "--gpu", "1", "--time", "1:00:00", "--max-jobs-run", "2"]
    status, stderr = run(
        sge, *options, "-l", "arch=x", "JOB=1:3", "log/a.JOB.log", "echo", "JOB  of 3", "$OMP_NUM_THREADS"
    )
    assert (status, stderr) == (0, "")
    script, out = tmp_path / "log/q/a.sh", tmp_path / "log/q/a.out"
    assert submitted(tmp_path) == [
        *("-V", "-cwd", "-S", "/bin/bash", "-j", "y"),
        *("-l", "gpu=1", "-l", "mem_free=4G,ram_free=4G", "-pe", "smp", "2", "-l", "h_rt=1:00:00"),
        *("-l", "arch=x", "-o", str(out), "-t", "1:3", "-tc", "2", str(script)),
    ]
    for job in (1, 2, 3):
        lines = (tmp_path / f"log/a.{job}.log").read_text().splitlines()
        assert lines[0] == f'# echo "{job}  of 3" $OMP_NUM_THREADS'
        assert lines[3] == f"{job}  of 3 2"
        assert lines[-1].startswith("# Ended (code 0) at ")


def test_one_job_is_no_array(sge, tmp_path):
    assert run(sge, "--max-jobs-run", "4", "a.log", "echo", "$OMP_NUM_THREADS") == (0, "")
    assert "-t" not in submitted(tmp_path) and "-tc" not in submitted(tmp_path)
    assert (tmp_path / "a.log").read_text().splitlines()[3] == "1"  # one thread, unless more are asked for


def test_failures_are_counted_and_named_and_picked(sge, tmp_path):
    status, stderr = run(sge, "JOB=1:3", "a.JOB.log", "test", "JOB", "=", "2")
    assert status == 1
    assert "run_sge.sh: 2 / 3 failed, log is in a.*.log; first of them: a.1.log" in stderr
    before = (tmp_path / "a.2.log").read_text()
    assert run(sge, "--pick", "failed", "JOB=1:3", "a.JOB.log", "true") == (0, "")
    assert (tmp_path / "a.2.log").read_text() == before
    assert "# true\n" in (tmp_path / "a.1.log").read_text()


def test_kaldis_queue_conf(sge, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/queue.conf").write_text(
        "# ours\ncommand qsub -v PATH -cwd\n\noption mem=* -l mem=$0,vmem=$0\noption num_threads=* -pe smp $0\n"
        "option num_threads=1  # nothing\ndefault gpu=0\noption gpu=0 -q all.q\noption gpu=* -q g.q -l gpu=$0\n"
    )
    assert run(sge, "--mem", "2G", "--num-threads", "1", "a.log", "true")[0] == 0
    expected = ["-v", "PATH", "-cwd", "-q", "all.q", "-l", "mem=2G,vmem=2G", "-o"]
    assert submitted(tmp_path)[: len(expected)] == expected
    (tmp_path / "other.conf").write_text("command qsub -v PATH\noption gpu=* -q g.q -l gpu=$0\n")
    assert run(sge, "--config", "other.conf", "--gpu", "2", "a.log", "true")[0] == 0
    assert submitted(tmp_path)[:6] == ["-v", "PATH", "-q", "g.q", "-l", "gpu=2"]


@pytest.mark.parametrize(
    ("conf", "options", "found"),
    [
        (
            "command qsub\n",
            ["--mem", "2G"],
            "--mem 2G: not described in x.conf. To mend: add a line 'option mem=* ...'",
        ),
        ("option mem=*\n", [], "x.conf: no line 'command ...'"),
        ("command qsub\noptions mem=1\n", [], "x.conf: cannot understand 'options mem=1'"),
        ("command no-such-qsub\n", [], "cannot submit: "),
        ("command true\n", [], "no job number in what 'true' said"),
    ],
)
def test_what_cannot_be_submitted_says_why(sge, tmp_path, conf, options, found):
    (tmp_path / "x.conf").write_text(conf)
    status, stderr = run(sge, "--config", "x.conf", *options, "a.log", "true")
    assert status == 1 and "run_sge.sh: Error: " in stderr and found in stderr


def test_a_signal_deletes_the_job(sge, tmp_path):
    process = sge("JOB=1:2", "a.JOB.log", "sleep", "3")
    deadline = time.monotonic() + 20
    while not (tmp_path / "a.1.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1 and "job 4711 was cancelled" in stderr
    assert (tmp_path / "fake/deleted").read_text() == "4711\n"
