"""The options of verbs that look up keys in tables: what becomes of those that are not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def missing_options(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--missing error|skip`` and ``--missing-list FILE``, of trials whose *what* is missing."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        policy = click.option(
            "--missing",
            type=click.Choice(["error", "skip"]),
            default="error",
            show_default=True,
            is_eager=True,  # before --missing-list, which asks for it
            help=f"Trials whose {what} are missing: an error, or counted and left out.",
        )
        list_file = click.option(
            "--missing-list",
            metavar="FILE",
            callback=_with_skip,
            help="With --missing skip: write lines 'KEY enroll|test' to FILE.",
        )
        return policy(list_file(function))

    return decorate


def _with_skip(context: click.Context, _parameter: click.Parameter, list_file: str | None) -> str | None:
    if list_file is not None and context.params.get("missing") != "skip":
        raise click.UsageError("--missing-list goes with --missing skip")
    return list_file
