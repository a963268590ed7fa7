"""Every command in the documentation is one that its program takes: verb, options and number of arguments.

Nothing is run here; other tests run the pages that are to be typed from the top.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from svtk.cli.main import svtk

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "egs/*/*.md", "conf/*.md", "benchmarks/*.md")
    for page in ROOT.glob(pattern)
)
REDIRECTIONS = re.compile(r"^\d*(>|>>|<|<<<|>&|&>)$")
SCRIPTS = {
    path.name: path for path in (*ROOT.glob("egs/*/run.sh"), *ROOT.glob("egs/*/local/*.sh"), *ROOT.glob("utils/*.sh"))
}


def lines_of(text: str) -> list[str]:
    """The command lines in a page's blocks, joined where they go on in the next; output between them is left out."""
    blocks = re.findall(r"^ *```(?:sh|bash|text|console)?\n(.*?)^ *```", text, re.M | re.S)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [re.sub(r"^(\d\d:\d\d:\d\d )?\$ |, \d+ jobs, log: .*$", "", line.strip()) for line in joined.splitlines()]


def commands_of(line: str) -> list[list[str]]:
    """The words of each simple command of a line: without redirections, parted at | && ; and at brackets."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands, words = [[]], list(lexer)
    for place, word in enumerate(words):
        if set(word) <= set("|&;()") or word in ("do", "then", "!"):
            commands.append([])
        elif not (REDIRECTIONS.match(word) or (place and REDIRECTIONS.match(words[place - 1]))):
            commands[-1].append(word)
    return [command for command in commands if command]


def svtk_words(words: list[str]) -> list[str] | None:
    """The words after ``svtk`` of a command, which may stand behind a runner of jobs; None: it has none."""
    for place, word in enumerate(words):
        if word in ("svtk", "bin/svtk") or word.endswith("/bin/svtk"):
            return words[place + 1 :]
    return None


def check_svtk(words: list[str], fragment: bool = False) -> None:
    """Raise click's UsageError unless the verb takes these options and, but of a *fragment*, so many arguments."""
    if not words or words[0] in ("--help", "--version", "-h", "VERB", "my-verb"):
        return
    if "..." in words:
        words, fragment = words[: words.index("...")], True
    verb = svtk.get_command(click.Context(svtk), words[0])
    if verb is None:
        raise click.UsageError(f"no verb {words[0]!r}")
    context = click.Context(verb, info_name=words[0])
    if {"--help", "-h"} & set(words):
        return
    if fragment:  # which may end with an option's name
        known = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[1:]:
            if word.startswith("--") and word.split("=")[0] not in known:
                raise click.NoSuchOption(word)
        return
    values, left, _ = verb.make_parser(context).parse_args(args=words[1:])
    if left:
        raise click.UsageError(f"too many arguments: {left}")
    for parameter in verb.params:
        value = values.get(parameter.name)
        absent = not isinstance(value, (str, int, tuple, list)) or value in ((), [])
        if parameter.required and absent:
            raise click.UsageError(f"{parameter.human_readable_name} is missing")


def check_script(words: list[str]) -> None:
    """Raise ValueError unless the script has these options."""
    script = SCRIPTS[Path(words[0]).name]
    for word in words[1:]:
        name = re.fullmatch(r"--([a-z][a-z0-9-]*)(=.*)?", word)
        if name and name[1] not in ("help", "config"):
            variable = name[1].replace("-", "_")
            if not re.search(rf"^\s*{variable}=", script.read_text(encoding="utf-8"), re.M):
                raise ValueError(f"{script.name} has no option {word}")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(page):
    text, wrong = (ROOT / page).read_text(encoding="utf-8"), []
    fragments = [re.sub(r"\s+", " ", found) for found in re.findall(r"(?<!`)`(svtk [^`]+)`", text)]
    for line in lines_of(text) + fragments:
        if "svtk" not in line and ".sh" not in line:
            continue
        try:
            commands = commands_of(line)
        except ValueError:  # no shell: the figure of a terminal
            continue
        for words in commands:
            try:
                if (after := svtk_words(words)) is not None:
                    check_svtk(after, fragment=line in fragments)
                elif Path(words[0]).name in SCRIPTS:
                    check_script(words)
            except (click.UsageError, ValueError) as error:
                wrong.append(f"{line}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("svtk scor trials a b", "no verb 'scor'"),
        ("svtk score --normal trials scp:a scp:b - | sort", "No such option '--normal'"),
        ("for x in a; do svtk score trials scp:a > b; done", "is missing"),
        ("utils/run_local.sh JOB=1:4 log svtk score a b c d e", "too many arguments"),
    ],
)
def test_a_wrong_one_is_found(line, found):
    with pytest.raises(click.UsageError) as wrong:
        for words in commands_of(line):
            if (after := svtk_words(words)) is not None:
                check_svtk(after)
    assert found in wrong.value.format_message()


def test_a_wrong_option_of_a_script_is_found():
    check_script(["./run.sh", "--vox1", "DIR", "--corpus=demo"])
    with pytest.raises(ValueError, match="run.sh has no option --corpsu"):
        check_script(["./run.sh", "--corpsu", "demo"])


def test_there_is_something_to_check():
    lines = [line for page in PAGES for line in lines_of((ROOT / page).read_text(encoding="utf-8")) if "svtk " in line]
    found = [svtk_words(words) for line in lines if "'" not in line for words in commands_of(line)]
    assert len([words for words in found if words]) > 100
