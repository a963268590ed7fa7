"""utils/log.sh: a command's log starts with the command and ends with its status; outputs are whole or not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bash(body: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; . {ROOT}/utils/log.sh\n{body}"], cwd=cwd, capture_output=True, text=True
    )


def test_run_shows_and_logs_the_command(tmp_path):
    done = bash("run log/a.log sh -c 'echo data; echo note >&2'; echo after", tmp_path)
    assert done.returncode == 0
    assert done.stdout == "data\nafter\n"
    assert "$ sh -c 'echo data; echo note >&2'\n" in done.stderr and "note\n" in done.stderr
    lines = (tmp_path / "log/a.log").read_text().splitlines()
    assert lines[0] == "# sh -c 'echo data; echo note >&2'"
    assert lines[1] == "note"
    assert lines[-1].startswith("# ended with status 0 after ")


def test_a_failing_command_ends_the_script_with_its_status(tmp_path):
    done = bash("run log/a.log sh -c 'echo broken >&2; exit 3'; echo after", tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "failed with status 3; log: log/a.log" in done.stderr
    lines = (tmp_path / "log/a.log").read_text().splitlines()
    assert lines[1] == "broken" and lines[-1].startswith("# ended with status 3 ")


def test_run_to_writes_by_rename(tmp_path):
    done = bash("run_to out/x.json log/a.log echo '{}'", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/x.json").read_text() == "{}\n"
    assert (tmp_path / "log/a.log").read_text().startswith("# echo '{}' > out/x.json\n")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/x.json"]


def test_run_to_leaves_no_half_output(tmp_path):
    (tmp_path / "x").write_text("earlier\n")
    done = bash("run_to x log/a.log sh -c 'echo half; exit 1'", tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "x").read_text() == "earlier\n"


def test_a_log_keeps_only_the_last_state_of_a_progress_bar(tmp_path):
    bash(r"run a.log sh -c 'printf \"10%%\r50%%\r100%%\n\" >&2'".replace('\\"', '"'), tmp_path)
    assert (tmp_path / "a.log").read_text().splitlines()[1] == "100%"


def test_progress_bars_are_asked_for_only_on_a_terminal(tmp_path):
    body = "run a.log sh -c 'echo \"<$SVTK_PROGRESS>\"'"
    assert bash(body, tmp_path).stdout == "<>\n"
    script = f"bash -c '. {ROOT}/utils/log.sh; run {tmp_path}/b.log printenv SVTK_PROGRESS'"
    done = subprocess.run(["script", "-qec", script, "/dev/null"], capture_output=True, text=True, cwd=tmp_path)
    assert "bar" in done.stdout.splitlines()


def test_stderr_may_be_a_file(tmp_path):
    with open(tmp_path / "err", "w") as err:
        err.write("earlier\n")
        err.flush()
        subprocess.run(
            ["bash", "-c", f". {ROOT}/utils/log.sh; run a.log sh -c 'echo note >&2'; log end"], cwd=tmp_path, stderr=err
        )
    lines = (tmp_path / "err").read_text().splitlines()
    assert lines[0] == "earlier" and lines[2] == "note" and lines[3].endswith(" end")


def test_die_is_one_error_line(tmp_path):
    done = bash("die 'x is missing'; echo after", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: x is missing\n")
