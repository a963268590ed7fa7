"""utils/run_local.sh: the contract of Kaldi's run.pl on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = str(ROOT / "utils/run_local.sh")


@pytest.fixture
def runner(tmp_path):
    def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
        env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
        return subprocess.run(
            [RUNNER, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**env, **environment}
        )

    return run


def body(log: Path) -> list[str]:
    """The lines of a log between its head and its foot."""
    lines = log.read_text().splitlines()
    assert lines[1].startswith("# Started at ") and lines[2] == "#"
    assert lines[-2].startswith("# Accounting: time=")
    assert re.fullmatch(r"# Ended \(code \d+\) at .*, elapsed time \d+ seconds", lines[-1])
    return lines[3:-2]


def test_one_job(runner, tmp_path):
    done = runner("log/deep/a.log", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert body(tmp_path / "log/deep/a.log") == ["hello"]
    assert (tmp_path / "log/deep/a.log").read_text().startswith("# echo hello\n")


def test_an_array(runner, tmp_path):
    assert runner("JOB=3:5", "log/a.JOB.log", "echo", "job JOB of", "x.JOB.ark").returncode == 0
    assert [body(tmp_path / f"log/a.{i}.log") for i in (3, 4, 5)] == [[f"job {i} of x.{i}.ark"] for i in (3, 4, 5)]
    assert len(list((tmp_path / "log").iterdir())) == 3


def test_any_name_and_one_number_will_do(runner, tmp_path):
    assert runner("--mem", "1G", "N=2", "--time", "1:00:00", "a.N.log", "echo", "N").returncode == 0
    assert body(tmp_path / "a.2.log") == ["2"]


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["echo", "a  b"], ["a  b"]),
        (["echo", 'say "a  b"'], ['say "a  b"']),
        (["test", "", "=", "", "&&", "echo", "empty"], ["empty"]),
        (["echo", "x", "|", "tr", "x", "y"], ["y"]),
        (["false", "||", "echo", "else"], ["else"]),
        (["echo", "x", ">", "file", "&&", "cat", "file"], ["x"]),
        (["cat"], []),  # stdin is empty
        (["bash", "-c", "echo err >&2; echo out"], ["err", "out"]),
    ],
)
def test_words_are_taken_as_kaldi_takes_them(runner, tmp_path, words, out):
    done = runner("a.log", *words)
    assert done.returncode == 0, (tmp_path / "a.log").read_text()
    assert body(tmp_path / "a.log") == out


def test_failures_are_counted_and_named(runner, tmp_path):
    done = runner("JOB=1:4", "log/a.JOB.log", "test", "JOB", "-lt", "3")
    assert done.returncode == 1
    assert "2 / 4 failed, log is in log/a.*.log; first of them: log/a.3.log" in done.stderr
    assert "# Ended (code 1) at" in (tmp_path / "log/a.4.log").read_text()
    done = runner("b.log", "sh", "-c", "exit 7")
    assert (done.returncode, done.stderr) == (1, "run_local.sh: job failed, log is in b.log\n")
    assert "# Ended (code 7) at" in (tmp_path / "b.log").read_text()


def test_a_killed_job_has_failed_though_its_last_run_had_not(runner, tmp_path):
    (tmp_path / "a.1.log").write_text("# Ended (code 0) at some time\n")
    done = runner("JOB=1:2", "a.JOB.log", "test", "JOB", "=", "2", "||", "kill", "-9", "0")  # its whole group
    assert done.returncode == 1 and "1 / 2 failed" in done.stderr and "a.1.log" in done.stderr


def test_pick_failed_runs_what_failed_or_did_not_end(runner, tmp_path):
    runner("JOB=1:4", "a.JOB.log", "test", "JOB", "-ne", "3")
    (tmp_path / "a.4.log").write_text("# sleep\n# Started at noon\n")
    done = runner("--pick", "incomplete", "JOB=1:4", "a.JOB.log", "echo", "once more")
    assert done.returncode == 1 and "1 / 4 failed" in done.stderr
    done = runner("--pick", "failed", "JOB=1:4", "a.JOB.log", "echo", "again")
    assert done.returncode == 0, done.stderr
    assert [body(tmp_path / f"a.{i}.log") for i in (1, 2, 3, 4)] == [[], [], ["again"], ["once more"]]


def test_no_more_than_max_jobs_run_at_a_time(runner, tmp_path):
    (tmp_path / "now").mkdir()
    script = "touch now/JOB; ls now | wc -l; sleep 0.2; rm now/JOB"
    assert runner("--max-jobs-run", "2", "JOB=1:5", "a.JOB.log", "bash", "-c", script).returncode == 0
    counts = [int(body(tmp_path / f"a.{i}.log")[0]) for i in range(1, 6)]
    assert max(counts) == 2


CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("options", "environment", "threads"),
    [
        (["--num-threads", "3", "JOB=1:2"], {"OMP_NUM_THREADS": "7"}, 3),
        (["JOB=1:2"], {"OMP_NUM_THREADS": "7"}, 7),
        (["JOB=1:64"], {}, 1),
        (["JOB=1:2"], {}, max(1, CORES // 2)),
        (["JOB=1:1"], {}, CORES),
    ],
)
def test_jobs_share_the_cores(runner, tmp_path, options, environment, threads):
    done = runner(*options, "a.JOB.log", "echo", "$OMP_NUM_THREADS", "${MKL_NUM_THREADS:-}", **environment)
    assert done.returncode == 0
    assert body(tmp_path / "a.1.log")[0].split()[0] == str(threads)
    assert f" threads={threads}\n" in (tmp_path / "a.1.log").read_text()


@pytest.mark.parametrize(
    ("gpus", "each", "seen"), [(2, 1, {"0", "1"}), (4, 2, {"0,1", "2,3"}), (1, 1, {""}), (0, 1, {""})]
)
def test_each_job_has_its_own_gpus(runner, tmp_path, gpus, each, seen):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nfor i in $(seq {gpus}); do echo GPU $i: a card; done\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    script = "echo =$CUDA_VISIBLE_DEVICES; sleep 0.2"
    (tmp_path / "job.sh").write_text(script)
    path = f"{tmp_path}:{os.environ['PATH']}"
    options = ["--gpu", str(each), "JOB=1:4", "a.JOB.log"]
    assert runner(*options, "bash", "job.sh", PATH=path, CUDA_VISIBLE_DEVICES="").returncode == 0
    assert {body(tmp_path / f"a.{i}.log")[0][1:] for i in range(1, 5)} == seen


def test_what_is_for_queues_is_ignored_with_a_word(runner):
    done = runner("-l", "arch=*64", "-V", "-pe", "smp", "4", "--gpu", "0", "JOB=1:2", "a.JOB.log", "true")
    assert done.returncode == 0
    assert done.stderr == "run_local.sh: ignored, there is no queue here: -l arch=*64 -V -pe smp 4\n"


@pytest.mark.parametrize(
    ("words", "status", "found"),
    [
        ([], 2, "usage: run_local.sh "),
        (["a.log"], 2, "usage: "),
        (["JOB=1:3", "a.log", "true"], 1, "a.log: one log for several jobs. To mend: put JOB into its name"),
        (["JOB=0:3", "a.JOB.log", "true"], 1, "JOB=0:3: expected 1 <= first <= last"),
        (["JOB=3:2", "a.JOB.log", "true"], 1, "JOB=3:2: expected 1 <= first <= last"),
        (["--num-threads", "0", "a.log", "true"], 1, "--num-threads 0: expected a whole number"),
        (["--max-jobs-run", "x", "a.log", "true"], 1, "--max-jobs-run x: expected a whole number"),
        (["--pick", "some", "a.log", "true"], 1, "--pick some: expected all, failed or incomplete"),
    ],
)
def test_wrong_usage(runner, tmp_path, words, status, found):
    done = runner(*words)
    assert done.returncode == status and found in done.stderr
    assert not list(tmp_path.iterdir())


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_jobs_and_what_they_started(tmp_path, number):
    (tmp_path / "two.sh").write_text("sleep 300 & echo $! > pid.$1; sleep 300")
    process = subprocess.Popen(
        [RUNNER, "--max-jobs-run", "2", "JOB=1:3", "a.JOB.log", "bash", "two.sh", "JOB"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them ignore SIGINT, and bash cannot trap what is ignored.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    files = [tmp_path / "pid.1", tmp_path / "pid.2"]
    deadline = time.monotonic() + 20
    while not all(file.exists() and file.read_text().strip() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == -number
    assert f"stopped by {number.name}; its jobs were ended" in stderr
    assert not (tmp_path / "a.3.log").exists()
    while any(alive(file.read_text().strip()) for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.02)
