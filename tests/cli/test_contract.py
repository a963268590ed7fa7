"""What every verb promises: a summary, a runnable example, and a start that imports nothing heavy."""

from __future__ import annotations

import importlib
import pkgutil
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from svtk import cli
from svtk.cli.main import svtk

MODULES = sorted(
    info.name for info in pkgutil.iter_modules(cli.__path__) if info.name != "main" and not info.name.startswith("_")
)


def test_there_are_verbs():
    assert {"score", "compute_metrics", "report"} <= set(MODULES)
    assert svtk.list_commands(None) == [name.replace("_", "-") for name in MODULES]


def test_import_is_light():
    """A verb's module, until it runs, imports nothing but the standard library, click, yaml and svtk."""
    program = (
        f"import importlib, sys\nfor name in {MODULES}:\n"
        "    before = set(sys.modules)\n    importlib.import_module(f'svtk.cli.{name}')\n"
        "    new = {module.partition('.')[0] for module in set(sys.modules) - before}\n"
        "    heavy = sorted(new - set(sys.stdlib_module_names) - {'click', 'yaml', '_yaml', 'svtk'})\n"
        "    if heavy:\n        print(name, *heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def commands(example: str) -> list[list[str]]:
    """The command lines of an example as words, without what a shell makes of them (``>``, ``|``)."""
    joined = example.strip().replace("\\\n", " ")
    result = []
    for line in joined.splitlines():
        words = shlex.split(line)
        ends = [i for i, word in enumerate(words) if word in (">", "|", "&&")]
        result.append(words[: min(ends, default=len(words))])
    return result


@pytest.mark.parametrize("name", MODULES)
def test_help_ends_with_a_runnable_example(name):
    verb = name.replace("_", "-")
    done = CliRunner().invoke(svtk, [verb, "--help"], prog_name="svtk")
    assert done.exit_code == 0, done.output
    head, found, example = done.output.rpartition("Example:")
    assert found, "no Example"
    assert "Options:" in head and "Options:" not in example
    command = importlib.import_module(f"svtk.cli.{name}").command
    assert isinstance(command, click.Command)
    summary = command.help.strip().splitlines()[0]
    assert summary.endswith(".") and len(summary) <= 100
    assert commands(example)[0][:2] == ["svtk", verb]
    for words in commands(example):  # the verb's own parser understands it: options and number of words
        if words[:2] == ["svtk", verb]:
            options, rest, _ = command.make_parser(click.Context(command)).parse_args(words[2:])
            assert rest == []
            given = {name for name, value in options.items() if isinstance(value, (str, list, tuple))}
            assert {p.name for p in command.params if p.required} <= given


@pytest.mark.parametrize("name", MODULES)
def test_every_option_says_what_it_does(name):
    command = importlib.import_module(f"svtk.cli.{name}").command
    assert [p.opts for p in command.params if isinstance(p, click.Option) and not p.help] == []
