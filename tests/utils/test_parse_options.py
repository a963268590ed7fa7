"""utils/parse_options.sh: what may be an option, how values are taken, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
help_message="usage: script [options] DATA_DIR"
nj=4             # how many jobs
data_name=dev    # a data set
use_gpu=false    # true on a GPU
empty=           # nothing by default
undocumented=1
. {ROOT}/utils/parse_options.sh
after=1          # not an option: set below
echo "nj=$nj data_name=$data_name use_gpu=$use_gpu empty=$empty undocumented=$undocumented rest=$*"
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.sh"
    path.write_text(SCRIPT)

    def run(*args, **env):
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", **env}
        return subprocess.run(["bash", str(path), *args], capture_output=True, text=True, env=environment)

    return run


DEFAULTS = {"nj": "4", "data_name": "dev", "use_gpu": "false", "empty": "", "undocumented": "1", "rest": ""}


@pytest.mark.parametrize(
    ("args", "changed"),
    [
        ([], {}),
        (["--nj", "8"], {"nj": "8"}),
        (["--nj=8"], {"nj": "8"}),
        (["--data-name", "test"], {"data_name": "test"}),
        (["--data_name=test"], {"data_name": "test"}),
        (["--use-gpu", "true", "a", "b"], {"use_gpu": "true", "rest": "a b"}),
        (["--nj", "8", "a", "--nj", "9"], {"nj": "8", "rest": "a --nj 9"}),
        (["--nj", "8", "--", "--nj"], {"nj": "8", "rest": "--nj"}),
        (["--empty="], {}),
        (["--data-name", ""], {"data_name": ""}),
        (["--data-name", "a b  c"], {"data_name": "a b  c"}),
        (["--data-name", "--num-spks 8"], {"data_name": "--num-spks 8"}),
        (["--data-name=a=b"], {"data_name": "a=b"}),
        (["--undocumented", "2"], {"undocumented": "2"}),
    ],
)
def test_values(script, args, changed):
    done = script(*args)
    assert done.returncode == 0, done.stderr
    wanted = {**DEFAULTS, **changed}
    assert done.stdout == " ".join(f"{name}={value}" for name, value in wanted.items()) + "\n"


@pytest.mark.parametrize("value", ["$(touch {mark})", "`touch {mark}`", '"; touch {mark}; "', "a[$(touch {mark})]"])
@pytest.mark.parametrize("form", [["--data-name", "{}"], ["--data-name={}"]])
def test_a_value_is_never_evaluated(script, tmp_path, value, form):
    mark = tmp_path / "mark"
    value = value.format(mark=mark)
    done = script(*(word.format(value) for word in form))
    assert f"data_name={value} " in done.stdout
    assert not mark.exists()


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--no-such", "1"], "no option --no-such"),
        (["--after", "1"], "no option --after"),
        (["--PATH", "/tmp"], "no option --PATH"),
        (["--a[0]", "1"], "no option --a[0]"),
        (["--=1"], "no option --"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--use-gpu", "true"], "--nj needs a value"),
        (["--use-gpu", "yes"], "--use-gpu takes true or false; found 'yes'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(script, args, found):
    done = script(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert found in done.stderr


def test_the_environment_is_not_an_option_unless_the_script_sets_it(script):
    assert script("--http_proxy", "x", http_proxy="y").returncode == 2
    assert "nj=8 " in script("--nj", "8", nj="1").stdout


def test_help_is_made_from_the_script_itself(script):
    done = script("--help")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "usage: script [options] DATA_DIR"
    options = dict(line.split(None, 1) for line in done.stdout.splitlines()[2:])
    assert options == {
        "--nj": "how many jobs [4]",
        "--data-name": "a data set [dev]",
        "--use-gpu": "true on a GPU [false]",
        "--empty": "nothing by default",
        "--config": "file of NAME=VALUE lines, sourced before the other options",
    }


def test_a_config_file_is_sourced_first(script, tmp_path):
    (tmp_path / "my.conf").write_text("nj=16\ndata_name=eval\n")
    for args in (["--config", f"{tmp_path}/my.conf", "--nj", "8"], ["--nj", "8", f"--config={tmp_path}/my.conf"]):
        assert "nj=8 data_name=eval " in script(*args, "x").stdout
    done = subprocess.run(
        ["bash", "script.sh", "--config", "my.conf"], cwd=tmp_path, capture_output=True, text=True
    )  # a bare name is a file of this directory, not of PATH
    assert "nj=16 " in done.stdout


def test_only_an_option_is_a_config_file(script, tmp_path):
    (tmp_path / "my.conf").write_text("nj=16\n")
    conf = f"{tmp_path}/my.conf"
    assert "nj=4 " in script("a", "--config", conf).stdout
    assert "nj=4 " in script("--", "--config", conf).stdout
    assert "nj=4 data_name=--config" in script("--data-name=--config", conf).stdout


def test_a_config_file_that_is_not_there_is_refused(script):
    done = script("--config", "no/such")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ") and "--config: no readable file 'no/such'" in done.stderr
    assert "--config needs a value" in script("--config").stderr


@pytest.mark.parametrize("given", [["--cmd", ""], ["--cmd="]])
def test_an_empty_cmd_is_refused(tmp_path, given):
    (tmp_path / "s.sh").write_text(f"cmd=run.pl\n. {ROOT}/utils/parse_options.sh\necho $cmd\n")
    run = lambda *args: subprocess.run(["bash", tmp_path / "s.sh", *args], capture_output=True, text=True)  # noqa: E731
    assert "option --cmd is empty" in run(*given).stderr
    assert run("--cmd", "queue.pl -l ram_free=2G").stdout == "queue.pl -l ram_free=2G\n"


@pytest.mark.parametrize("options", ["", "set -e", "set -u", "set -euo pipefail"])
def test_every_shell_option_is_borne(tmp_path, options):
    (tmp_path / "s.sh").write_text(f"{options}\nnj=1\n. {ROOT}/utils/parse_options.sh\necho $nj $#\n")
    for args, out in (([], "1 0\n"), (["--nj", "2"], "2 0\n"), (["--nj=3", ""], "3 1\n")):
        done = subprocess.run(["bash", tmp_path / "s.sh", *args], capture_output=True, text=True, timeout=10)
        assert (done.returncode, done.stdout, done.stderr) == (0, out, "")
