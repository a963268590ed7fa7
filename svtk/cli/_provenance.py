"""Records beside what verbs write: the words of a command line as :mod:`svtk.provenance` knows files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from svtk.kaldi.specifiers import is_rspecifier, parse_rspecifier, parse_rxfilename, parse_wspecifier
from svtk.kaldi.streams import names_file
from svtk.provenance import Source, recorded

__all__ = [
    "SCORES",
    "audio_source",
    "output_files",
    "provenance_of",
    "settings_of",
    "source_of",
    "training_provenance",
]

#: bytes of a score file up to which it is hashed, a million lines or so: more would show in the time of millions
SCORES = 1 << 26


def source_of(name: str) -> Source:
    """What an rspecifier, an rxfilename or a directory's name stands for."""
    if os.path.isdir(name):
        return Source(name, name)
    script = archive = False
    rxfilename = name
    if is_rspecifier(name):
        spec = parse_rspecifier(name)
        rxfilename, script, archive = spec.rxfilename, spec.kind == "scp", spec.kind == "ark"
    parsed = parse_rxfilename(rxfilename)
    path = parsed.name if parsed.kind == "file" else None
    return Source(name, path, parsed.kind, is_archive=archive, is_script=script)


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
    inputs: Mapping[str, str | Source | Sequence[str] | None],
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
    named: dict[str, Source] = {}
    for name, given in inputs.items():
        if isinstance(given, (str, Source)):
            named[name] = given if isinstance(given, Source) else source_of(given)
        else:
            named |= {f"{name}_{number}": source_of(one) for number, one in enumerate(given or (), 1)}
    settings = settings_of(click.get_current_context(), inputs, resolved)
    return recorded(named, outputs, settings, max_hashed_output=max_hashed_output)
