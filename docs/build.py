"""What mkdocs makes at build time, so that no copy can go stale: a page per verb from its --help, and the READMEs.

A README keeps its path in the checkout, and so do its links to others; links to files that are no pages become text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import click
from mkdocs.structure.files import File, Files

from svtk.cli.main import svtk

ROOT = Path(__file__).parents[1]
READMES = (
    *("CHANGELOG.md", "egs/voxceleb/README.md", "egs/voxceleb/RESULTS.md"),
    *("conf/README.md", "benchmarks/README.md"),
)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config) -> Files:
    """Add the pages that are made."""
    for verb in svtk.list_commands(None):
        files.append(File.generated(config, f"verbs/{verb}.md", content=verb_page(verb)))
    files.append(File.generated(config, "verbs/index.md", content=verbs_page()))
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=relink(text, name)))
    return files


def command(verb: str) -> click.Command:
    found = svtk.get_command(None, verb)
    assert found is not None, verb
    return found


def verb_page(verb: str) -> str:
    """A verb's --help as it is printed, 80 columns wide."""
    context = click.Context(
        command(verb), info_name=f"svtk {verb}", terminal_width=80, help_option_names=["-h", "--help"]
    )
    return f"# svtk {verb}\n\n```text\n{context.get_help()}\n```\n\n[All verbs](index.md)\n"


def verbs_page() -> str:
    """All verbs, with the first sentence of each."""
    rows = (f"| [{verb}]({verb}.md) | {command(verb).get_short_help_str(200)} |" for verb in svtk.list_commands(None))
    return "\n".join(("# Verbs", "", "`svtk VERB [options] INPUT... OUTPUT`", "", "| verb | |", "|---|---|", *rows, ""))


def relink(text: str, name: str) -> str:
    """The Markdown *text* of the file *name* of the checkout, with its links as they are within the site."""
    folder = posixpath.dirname(name)

    def linked(match: re.Match[str]) -> str:
        words, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        path, hash_, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        page = path.removeprefix("docs/") if path.startswith("docs/") else path
        if page not in READMES and not path.startswith("docs/"):
            return words
        return f"[{words}]({posixpath.relpath(page, folder or '.')}{hash_}{anchor})"

    return _LINK.sub(linked, text)
