"""Records beside what verbs write: the words of a command line as :mod:`svtk.provenance` knows files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from svtk.kaldi.specifiers import is_rspecifier, parse_rspecifier, parse_rxfilename, parse_wspecifier
from svtk.kaldi.streams import names_file
from svtk.provenance import Source, describing, recorded, this_run

__all__ = [
    "SCORES",
    "audio_source",
    "output_files",
    "provenance_of",
    "provenance_within",
    "settings_of",
    "source_of",
    "training_provenance",
]

#: what an option or argument named: one input, several, or none
Given = str | Source | Sequence[str] | None

#: bytes of a score file up to which it is hashed, a million lines or so: more would show in the time of millions
SCORES = 1 << 26


def source_of(name: str) -> Source:
    """What an rspecifier, an rxfilename or a directory's name stands for."""
    if os.path.isdir(name):
        return Source(name, name)
    script = False
    rxfilename = name
    if is_rspecifier(name):
        spec = parse_rspecifier(name)
        rxfilename, script = spec.rxfilename, spec.kind == "scp"
    parsed = parse_rxfilename(rxfilename)
    path = parsed.name if parsed.kind == "file" else None
    return Source(name, path, parsed.kind, is_script=script)


def audio_source(name: str) -> Source:
    """The same of a data directory or a wav.scp, of whose audio files there are too many to look at."""
    return dataclasses.replace(source_of(name), is_script=False)


def training_provenance(model_dir: str) -> contextlib.AbstractContextManager[None]:
    """The same of a MODEL_DIR, whose ``run.yaml`` says already what it was made of."""
    return provenance_of([model_dir], {})


def output_files(name: str, *, table: bool = False) -> list[str]:
    """The files that a wxfilename or, for a *table*, a wspecifier names; none for stdout, pipes and devices."""
    if not table:
        names = [name]
    else:
        spec = parse_wspecifier(name)
        names = [file for file in (spec.ark, spec.scp) if file is not None and spec.ark is not None]
    return [file for file in names if names_file(file)]


def settings_of(context: click.Context, inputs: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the command line by name, but for its *inputs*; *resolved* says what defaults came to."""
    arguments = {parameter.name for parameter in context.command.params if isinstance(parameter, click.Argument)}
    options = {name: value for name, value in context.params.items() if name not in {*arguments, *inputs}}
    return {**options, **resolved}


def provenance_of(
    outputs: Sequence[str],
    inputs: Mapping[str, Given],
    *,
    max_hashed_output: int | None = None,
    **resolved: Any,
) -> contextlib.AbstractContextManager[None]:
    """:func:`svtk.provenance.recorded` for the verb that runs.

    Args:
        outputs: files and directories, as of :func:`output_files`.
        inputs: rspecifiers, rxfilenames and directories by the option or argument that named them; None, and an
            empty list: not given.
        max_hashed_output: as :func:`svtk.provenance.recorded`.
        resolved: settings beyond the command line's, or what its defaults came to.
    """
    named = _sources(inputs)
    settings = settings_of(click.get_current_context(), inputs, resolved)
    return recorded(named, outputs, settings, max_hashed_output=max_hashed_output)


@contextlib.contextmanager
def provenance_within(inputs: Mapping[str, Given], **resolved: Any) -> Iterator[Callable[[], dict[str, Any]]]:
    """For a verb whose output goes to stdout: the block is given a function that returns the record, to be part of it.

    Args:
        inputs, resolved: as :func:`provenance_of`.
    """
    with describing(_sources(inputs)) as described:
        yield lambda: this_run(described(), settings_of(click.get_current_context(), inputs, resolved))


def _sources(inputs: Mapping[str, Given]) -> dict[str, Source]:
    named: dict[str, Source] = {}
    for name, given in inputs.items():
        if isinstance(given, (str, Source)):
            named[name] = given if isinstance(given, Source) else source_of(given)
        else:
            named |= {f"{name}_{number}": source_of(one) for number, one in enumerate(given or (), 1)}
    return named
