"""The svtk command itself, as a user meets it: light, exact about verbs, one Error line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from svtk.cli import main as module
from svtk.errors import DataError


def run(*args: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "svtk", *args], capture_output=True, text=True, **options)


def test_help_lists_the_verbs():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "  score " in done.stdout and "  compute-metrics " in done.stdout and "  main " not in done.stdout
    assert run("-h").stdout == done.stdout


def test_help_imports_nothing_heavy():
    """Nothing beyond what the start of Python itself brings, the standard library, click and yaml."""
    program = (
        "import sys\nbefore = set(sys.modules)\nfrom svtk.cli.main import main\nsys.argv = ['svtk', '--help']\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert error.code == 0, error.code\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(*new)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) <= {"click", "yaml", "_yaml", "svtk"}


def test_version():
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("svtk, version ")


@pytest.mark.parametrize(
    ("word", "nearest"), [("scor", "score"), ("compute_metrics", "compute-metrics"), ("main", None)]
)
def test_an_unknown_verb_is_wrong_usage(svtk_main, word, nearest):
    done = svtk_main(word)
    assert done.code == 2 and done.stdout == ""
    assert f"no verb '{word}'" in done.stderr
    assert nearest is None or f"did you mean '{nearest}'?" in done.stderr


@pytest.mark.parametrize("args", [["score"], ["score", "--nope"], ["--nope"], ["report", "--format", "pdf", "x"]])
def test_wrong_usage_is_exit_2(svtk_main, args):
    done = svtk_main(*args)
    assert done.code == 2 and done.stdout == "" and "Error: " in done.stderr


def test_a_failure_is_exit_1_and_one_error_line(tmp_path):
    done = run("compute-metrics", "scores", "trials", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "Error: scores: cannot open: No such file or directory\n"


def call(monkeypatch, capsys, callback) -> tuple[int, str]:
    """Exit status and stderr of ``svtk`` when its verb does *callback*."""
    monkeypatch.setattr(module.Verbs, "list_commands", lambda *_: ["verb"])
    monkeypatch.setattr(module.Verbs, "get_command", lambda *_: click.Command("verb", callback=callback))
    monkeypatch.setattr(sys, "argv", ["svtk", "verb"])
    with pytest.raises(SystemExit) as info:
        module.main()
    return info.value.code, capsys.readouterr().err


def raises(error: BaseException):
    def callback() -> None:
        raise error

    return callback


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("two\nlines", path="f", line=2), "Error: f:2: two lines\n"),
        (KeyboardInterrupt(), "Error: interrupted\n"),
        (PermissionError(13, "Permission denied", "/a/b"), "Error: /a/b: Permission denied\n"),
    ],
)
def test_failures_end_in_one_line(monkeypatch, capsys, error, line):
    status, stderr = call(monkeypatch, capsys, raises(error))
    assert status == 1
    assert stderr.lstrip("\n") == line


def test_a_bug_is_not_dressed_up(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["svtk", "verb"])
    monkeypatch.setattr(module.Verbs, "list_commands", lambda *_: ["verb"])
    monkeypatch.setattr(
        module.Verbs, "get_command", lambda *_: click.Command("verb", callback=raises(ZeroDivisionError()))
    )
    with pytest.raises(ZeroDivisionError):
        module.main()


@pytest.mark.parametrize(("words", "name"), [([], "click"), (["describe", "conf/demo_distill_sv_mixer.yaml"], "yaml")])
def test_a_python_without_the_requirements(tmp_path, words, name):
    """A fresh clone whose user has not installed anything."""
    root = Path(__file__).resolve().parents[2]
    if name != "click":
        (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"}
    words = [sys.executable, "-S", "-m", "svtk", *words]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {sys.executable} has no module {name!r}. To mend: install svtk into it")
    assert done.stderr.count("\n") == 1


def test_status_that_a_verb_asks_for(monkeypatch, capsys):
    assert call(monkeypatch, capsys, lambda: click.get_current_context().exit(3)) == (3, "")
    assert call(monkeypatch, capsys, lambda: None) == (0, "")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    (tmp_path / "t").write_text("a b\n" * 50_000)
    program = (
        "import numpy as np\nfrom svtk.kaldi.tables import TableWriter\n"
        "with TableWriter('ark:e') as writer:\n    for key in 'ab':\n        writer.write(key, np.ones(4))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    command = f"'{sys.executable}' -m svtk score t ark:e ark:e - | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "a b 1.000000\n" and done.stderr == ""
