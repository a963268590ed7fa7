"""bin/run_jobs.sh: split, run, check, merge; a rerun redoes what is missing, and only that."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_JOBS = str(ROOT / "bin/run_jobs.sh")

#: work.sh IN OUT: as a verb of svtk does it, whole or not at all; fails in a part that holds the key in the file "bad"
WORK = """#!/usr/bin/env bash
echo "$(basename "$2")" >> ran
if [ -f bad ] && grep -qwf bad "$1"; then echo "Error: a bad line" >&2; exit 3; fi
sed 's/value/result/' "$1" > "$2.part" && mv "$2.part" "$2"
"""

#: what Kaldi's queue.pl and slurm.pl make of a command: a script, the job's number a variable, the words quoted by rule
#: of thumb, and the whole shown by a here-document first
LIKE_QUEUE = """#!/usr/bin/env bash
range=${1#JOB=} log=$2
shift 2
for word in "$@"; do
  if [[ $word =~ ^[^[:space:]]+$ ]]; then command+="$word "
  elif [[ $word == *\\"* ]]; then command+="'$word' "
  else command+="\\"$word\\" "; fi
done
command=${command//JOB/\\$\\{TASK\\}} log=${log//JOB/\\$TASK}
mkdir -p "$(dirname "$log")"
printf '%s\\n' "( cat <<EOF" "# $command" EOF ") > $log" "( $command ) >> $log 2>&1" > queue.sh
for ((i = ${range%:*}; i <= ${range#*:}; i++)); do TASK=$i bash queue.sh || failed=1; done
exit ${failed:-0}
"""


class Place:
    """A directory with a table of 20 lines and a command to run on it."""

    def __init__(self, path: Path):
        self.path = path
        self.lines = [f"utt{i:02} value {i}" for i in range(20, 0, -1)]  # in an order of their own
        self.write("in.scp", "".join(line + "\n" for line in self.lines))
        self.write("work.sh", WORK)
        (path / "work.sh").chmod(0o755)

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def words(self, *options: str, source: str = "in.scp", command: tuple[str, ...] = ()) -> list[str]:
        command = command or ("./work.sh", "SPLIT", "out/e.JOB.txt")
        (self.path / "out").mkdir(exist_ok=True)
        return [RUN_JOBS, "--merge", "out/e.JOB.txt", *options, source, "log/a.JOB.log", *command]

    def __call__(self, *options: str, **more) -> subprocess.CompletedProcess:
        (self.path / "ran").unlink(missing_ok=True)
        return subprocess.run(self.words(*options, **more), cwd=self.path, capture_output=True, text=True, timeout=60)

    @property
    def ran(self) -> list[str]:
        return sorted(self.read("ran").split()) if (self.path / "ran").exists() else []

    @property
    def merged(self) -> list[str]:
        return self.read("out/e.txt").splitlines()

    @property
    def result(self) -> list[str]:
        return [line.replace("value", "result") for line in self.lines]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize("nj", [1, 2, 7, 20])
@pytest.mark.parametrize("cmd", ["run", str(ROOT / "utils/run_local.sh")])
def test_the_result_is_the_same_for_every_nj(place, nj, cmd):
    done = place("--nj", str(nj), "--cmd", cmd)
    assert done.returncode == 0, done.stderr
    assert place.merged == place.result
    assert len(place.ran) == nj
    assert not list(place.path.rglob("*.part"))
    logs = {path.name for path in (place.path / "log").glob("*.log")}
    assert logs == ({"a.log"} if nj == 1 else {f"a.{job}.log" for job in range(1, nj + 1)})


def test_more_jobs_than_lines_are_fewer_and_it_is_said(place):
    done = place("--nj", "50")
    assert done.returncode == 0 and "in.scp: 20 job(s) instead of 50, one for each line" in done.stderr
    assert place.merged == place.result and len(place.ran) == 20


def test_a_failed_job_is_named_and_a_rerun_redoes_only_it(place):
    place.write("bad", "utt15\nutt02\n")
    done = place("--nj", "5")
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "2 of 5 jobs failed: 2 5; log: log/a.2.log (Error: a bad line). To mend: " in error
    assert not (place.path / "out/e.txt").exists()
    kept = place.read("log/a.1.log")
    place.write("bad", "utt02\n")
    done = place("--nj", "5")
    assert done.returncode == 1 and "3 of 5 jobs were done before; left: 2 5" in done.stderr
    assert "1 of 5 jobs failed: 5; log: log/a.5.log" in done.stderr
    assert place.ran == ["e.2.txt", "e.5.txt"]
    (place.path / "bad").unlink()
    done = place("--nj", "5")
    assert done.returncode == 0, done.stderr
    assert place.ran == ["e.5.txt"] and place.merged == place.result
    assert place.read("log/a.1.log") == kept and "./work.sh" in kept


def test_what_is_there_is_not_made_again_whatever_nj(place):
    assert place("--nj", "3").returncode == 0
    before = (place.path / "out/e.txt").stat().st_mtime_ns
    for nj in ("3", "5", "1"):
        done = place("--nj", nj)
        assert done.returncode == 0 and "already there" in done.stderr and place.ran == []
    assert (place.path / "out/e.txt").stat().st_mtime_ns == before


def test_a_merged_output_that_is_gone_is_made_again(place):
    place("--nj", "3")
    (place.path / "out/e.txt").unlink()
    assert place("--nj", "3").returncode == 0
    assert place.merged == place.result


def test_parts_of_another_split_are_never_used(place):
    place.write("bad", "utt02\n")
    assert place("--nj", "5").returncode == 1
    (place.path / "bad").unlink()
    for nj in (3, 4):
        place.write("bad", "utt02\n")
        done = place("--nj", str(nj))
        assert done.returncode == 1 and "what the earlier run left is removed" in done.stderr
        assert len(place.ran) == nj
        parts = {path.name for path in (place.path / "out").iterdir()}
        assert parts == {f"e.{job}.txt" for job in range(1, nj)}  # the last failed
    (place.path / "bad").unlink()
    assert place("--nj", "1").returncode == 0
    assert place.merged == place.result
    assert [path.name for path in (place.path / "out").iterdir()] == ["e.txt"]


@pytest.mark.parametrize("change", ["input", "command", "file of --inputs"])
@pytest.mark.parametrize("first", ["failed", "done"])
def test_changes_are_noticed(place, change, first):
    place.write("model", "1")
    place.write("bad", "utt02\n" if first == "failed" else "nothing\n")
    options = ["--nj", "4", "--inputs", "model,work.sh"]
    assert place(*options).returncode == (1 if first == "failed" else 0)
    (place.path / "bad").unlink()
    command = ()
    if change == "input":
        place.lines[3] = "utt99 value 99"
        place.write("in.scp", "".join(line + "\n" for line in place.lines))
    elif change == "command":
        command = ("./work.sh", "SPLIT", "out/e.JOB.txt", "--more")
    else:
        place.write("model", "2")
    done = place(*options, command=command)
    assert done.returncode == 0, done.stderr
    assert "what the earlier run left is removed" in done.stderr
    assert len(place.ran) == 4 and place.merged == place.result


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "sed 's/value/result/; /utt07/d' $1 > $2",
            "1 of 4 jobs failed: 3; log: log/a.3.log (out/e.3.txt: found 4 of 5 keys",
        ),
        (
            "sed 's/value/result/; s/utt07/utt77/' $1 > $2",
            "out/e.3.txt: 1 key(s) that are not in the input, first utt77",
        ),
        ("cat $1 $1 > $2", "4 of 4 jobs failed: 1 2 3 4; log: log/a.1.log (out/e.1.txt: 5 key(s) more than once"),
        ("true", "out/e.1.txt is missing"),
    ],
)
def test_outputs_are_counted_against_inputs(place, script, found):
    place.write("work.sh", f"#!/bin/bash\n{script}\n")
    done = place("--nj", "4")
    assert done.returncode == 1 and found in done.stderr.splitlines()[-1]
    assert not (place.path / "out/e.txt").exists()
    place.write("work.sh", WORK)
    assert place("--nj", "4").returncode == 0  # the jobs whose output was not whole are run again
    assert place.merged == place.result


def test_one_jobs_output_is_counted_too(place):
    place.write("work.sh", "#!/bin/bash\nhead -n 19 $1 > $2\n")
    done = place("--nj", "1")
    assert done.returncode == 1
    assert "out/e.txt: found 19 of 20 keys; first that is missing: utt01; log: log/a.log" in done.stderr


def test_trial_lists_are_counted_by_lines(place):
    lines = [f"{i % 2} spk{i % 3} utt{i}" for i in range(10)]
    place.write("trials", "".join(line + "\n" for line in lines))
    done = place("--nj", "3", "--check", "lines", source="trials")
    assert done.returncode == 0, done.stderr
    assert place.merged == lines
    place.write("work.sh", "#!/bin/bash\nhead -n 2 $1 > $2\n")
    place.write("model", "")
    done = place("--nj", "3", "--check", "lines", "--inputs", "model", source="trials")
    assert done.returncode == 1 and "out/e.1.txt: found 2 lines, expected 4" in done.stderr


def test_a_directory_of_outputs(place):
    place.write(
        "work.sh",
        "#!/bin/bash\nmkdir -p $2; sed 's/value/result/' $1 > $2/x.scp; cut -d' ' -f1 $1 > $2/utts; "
        'echo data > $2/x.ark; echo "{}" > $2/info.json\n',
    )
    more = {"command": ("./work.sh", "SPLIT", "out/all/JOB")}
    done = place("--merge", "out/all/JOB", "--nj", "3", **more)
    assert done.returncode == 0, done.stderr
    assert place.read("out/all/x.scp").splitlines() == place.result
    assert place.read("out/all/utts").splitlines() == [line.split()[0] for line in place.lines]
    assert {path.name for path in (place.path / "out/all").iterdir()} == {"1", "2", "3", "x.scp", "utts", "info.json"}
    place.write("model", "")
    done = place("--merge", "out/all/JOB", "--nj", "1", "--inputs", "model", **more)
    assert done.returncode == 0, done.stderr
    assert place.read("out/all/x.scp").splitlines() == place.result
    assert {path.name for path in (place.path / "out/all").iterdir()} == {"x.scp", "utts", "x.ark", "info.json"}


def test_parts_that_do_not_agree_are_refused(place):
    place.write("work.sh", "#!/bin/bash\nmkdir -p $2; cp $1 $2/x.scp; echo $2 > $2/info.json\n")
    done = place("--merge", "out/all/JOB", "--nj", "3", command=("./work.sh", "SPLIT", "out/all/JOB"))
    assert done.returncode == 1 and "info.json: not the same in job 2" in done.stderr
    assert not (place.path / "out/all/info.json").exists()


@pytest.mark.parametrize("cmd", ["run", "./like_queue"])
def test_any_word_reaches_the_command_unharmed(place, cmd):
    place.write("like_queue", LIKE_QUEUE)
    (place.path / "like_queue").chmod(0o755)
    words = [
        "a b",
        "",
        "$HOME",
        "`id`",
        "it's",
        '"',
        "x|y;z>w&",
        "*",
        "tab\there",
        "back\\slash",
        "JOB of JOB",
        "~",
        "é",
    ]
    for nj in (2, 1) if cmd == "run" else (2,):
        command = ("python3", "-c", "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))", "out/w JOB", *words)
        done = place("--merge", "", "--cmd", cmd, "--nj", str(nj), command=command)
        assert done.returncode == 0, done.stderr + place.read("log/a.1.log")
        expected = [word.replace("JOB", str(nj)) for word in words]
        assert place.read(f"out/w {nj}") == repr(expected)


def test_a_runner_is_asked_for_no_more_than_kaldis_give(place):
    place.write("runner", '#!/bin/bash\nprintf "%s\\n" "$@" > asked\nexec run_local.sh "$@"\n')
    (place.path / "runner").chmod(0o755)
    done = place("--nj", "2", "--num-threads", "3", "--cmd", "./runner --mem 1G")
    assert done.returncode == 0, done.stderr
    asked = place.read("asked").splitlines()
    assert asked[:6] == ["--mem", "1G", "--num-threads", "3", "JOB=1:2", "log/a.JOB.log"]
    assert asked[6:] == [
        *("./work.sh", "log/a.jobs/split/JOB/in.scp", "out/e.JOB.txt"),
        *("&&", "touch", "log/a.jobs/done.JOB"),
    ]
    place.write("model", "")
    assert place("--nj", "1", "--inputs", "model", "--cmd", "./runner").returncode == 0
    assert place.read("asked").splitlines() == ["log/a.log", "./work.sh", "in.scp", "out/e.txt"]


def wait_until(happened) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_run_is_taken_up_when_its_last_jobs_have_ended(place):
    wait = "for _ in {1..600}; do [ $2 = out/e.2.txt ] && [ ! -e go ] || break; sleep 0.1; done; sed "
    place.write("work.sh", WORK.replace("sed ", wait))
    process = subprocess.Popen(place.words("--nj", "2"), cwd=place.path, start_new_session=True)
    wait_until((place.path / "log/a.jobs/done.1").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (place.path / "ran").unlink()
    with open(place.path / "stderr", "wb") as stderr:
        again = subprocess.Popen(place.words("--nj", "2"), cwd=place.path, stderr=stderr)
    wait_until(lambda: "another run is at work here; waiting for its end" in place.read("stderr"))
    place.write("go", "")
    assert again.wait(60) == 0, place.read("stderr")
    assert place.ran == []  # the job that outlived its runner ended well
    assert place.merged == place.result


@pytest.mark.parametrize(("options", "jobs"), [(["--per-spk", "true"], 3), ([], 5)])
def test_a_data_directory_by_speaker_or_by_utterance(place, options, jobs):
    utts = {f"utt{i:02}": f"spk{i % 3}" for i in range(10)}  # a speaker's utterances are not side by side
    place.write("data/utt2spk", "".join(f"{utt} {spk}\n" for utt, spk in utts.items()))
    place.write("data/wav.scp", "".join(f"{utt} /{utt}.wav\n" for utt in utts))
    command = ("cp", "SPLIT/wav.scp", "out/e.JOB.txt")
    done = place("--nj", "5", *options, source="data/", command=command)
    assert done.returncode == 0, done.stderr
    assert ("data: 3 job(s) instead of 5, one for each speaker" in done.stderr) == (jobs == 3)
    parts = [set(path.read_text().split()[::2]) for path in sorted((place.path / "out").glob("e.?.txt"))]
    assert len(parts) == jobs and sum(map(len, parts)) == 10
    if jobs == 3:
        assert [len({utts[utt] for utt in part}) for part in parts] == [1, 1, 1]
    assert place.merged == place.read("data/wav.scp").splitlines()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["in.scp", "log/a.JOB.log"], "found 2 arguments"),
        (["--nj", "0", "in.scp", "log/a.JOB.log", "true"], "--nj 0: expected a whole number"),
        (["in.scp", "log/a.log", "true"], "log/a.log: a log's name ends in .JOB.log"),
        (["JOBS/in.scp", "a.JOB.log", "true"], "JOB and SPLIT in a name are replaced; found them in 'JOBS/in.scp'"),
        (["in.scp", "JOB/a.JOB.log", "true"], "JOB and SPLIT in a name are replaced"),
        (["--merge", "out.scp", "in.scp", "a.JOB.log", "true"], "--merge out.scp: expected .JOB or /JOB in its name"),
        (["--check", "all", "in.scp", "a.JOB.log", "true"], "--check all: expected keys, lines or none"),
        (["--per-spk", "true", "in.scp", "a.JOB.log", "true"], "--per-spk is for data directories"),
    ],
)
def test_wrong_usage(place, words, found):
    done = subprocess.run([RUN_JOBS, *words], cwd=place.path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("Error: ") and found in done.stderr


@pytest.mark.parametrize("source", ["no/such", "empty"])
def test_no_input(place, source):
    place.write("empty", "")
    done = place(source=source)
    assert done.returncode == 1 and f"{source} is missing or empty" in done.stderr
