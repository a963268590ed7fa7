"""Text by Kaldi's extended file names: a path, ``-`` (stdin, stdout), ``command |`` to read, ``| command`` to write."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.specifiers import is_rspecifier, parse_rspecifier, parse_wspecifier
from svtk.kaldi.streams import open_rxfilename, open_wxfilename

__all__ = ["only_one", "read_spk2utt", "read_text", "refuse_byte_order_mark", "refuse_irregular_file", "write_text"]


def only_one(stream: str, names: Mapping[str, str | os.PathLike | None]) -> None:
    """Refuse a command line that gives stdin or stdout to more than one of its arguments.

    Args:
        stream: ``stdin`` or ``stdout``, for the message.
        names: what each argument is called, and its specifier or extended file name (None: not given).

    Raises:
        DataError: two or more of them are ``-``, or one is no specifier.

    >>> only_one("stdin", {"TRIALS": "-", "ENROLL_RSPECIFIER": "scp:a.scp"})
    """
    given = {what: os.fspath(name) for what, name in names.items() if name is not None}
    takers = [what for what, name in given.items() if {"-", ""} & set(_files(stream, name))]
    if len(takers) > 1:
        raise DataError(f"{' and '.join(takers)} cannot both be {stream}", mend=f"use {stream} for one of them")


def refuse_byte_order_mark(line: bytes, number: int, path: str | os.PathLike) -> None:
    """Refuse what Windows' editors put before the first line, which would pass for a part of its first word.

    Raises:
        DataError: line 1 begins so.
    """
    if number == 1 and line.startswith(codecs.BOM_UTF8):
        raise DataError("it begins with a byte order mark", path=path, line=1, mend=r"sed -i '1s/^\xEF\xBB\xBF//' FILE")


def refuse_irregular_file(path: Path) -> None:
    """Refuse what stands in a file's place in a data directory: a named pipe would be waited for, maybe for ever.

    Raises:
        DataError: *path* is there, and no regular file (or link to one).
    """
    if path.exists() and not path.is_file():
        found = "a directory" if path.is_dir() else "a named pipe, a device or a socket"
        raise DataError("not a regular file", path=path, found=found, mend="put a file there, or remove it")


def _files(stream: str, name: str) -> list[str]:
    """The extended file names in a specifier, or the one that *name* is."""
    if not is_rspecifier(name):
        return [name]
    if stream == "stdin":
        return [parse_rspecifier(name).rxfilename]
    spec = parse_wspecifier(name)
    return [file for file in (spec.ark, spec.scp) if file is not None and spec.ark is not None]


def read_text(rxfilename: str | os.PathLike) -> Iterator[str]:
    """Yield the lines of an rxfilename, newlines kept.

    Raises:
        DataError: it cannot be opened, its command fails, or it is not UTF-8 text or has a byte order mark.
    """
    with open_rxfilename(rxfilename) as file:
        for number, line in enumerate(file, 1):
            refuse_byte_order_mark(line, number, rxfilename)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError("not UTF-8 text", path=rxfilename, line=number) from error


def write_text(wxfilename: str | os.PathLike, lines: Iterable[str]) -> None:
    """Write lines, a newline put after each; a file is there whole or not at all.

    Args:
        wxfilename: where to; a :class:`os.PathLike` is a path whatever it looks like.
        lines: without their newlines.

    Raises:
        DataError: it cannot be written, or its command fails.
    """
    with open_wxfilename(wxfilename) as output:
        for line in lines:
            output.write(f"{line}\n".encode())


def read_spk2utt(source: str | os.PathLike) -> dict[str, list[str]]:
    """Read ``spk utt utt ...`` lines in their order.

    An utterance may belong to several speakers, as where one recording enrols two models.

    Args:
        source: an rxfilename (a path, ``-``, ``command |``) or, as Kaldi's tools write it, ``ark:`` and one.

    Raises:
        DataError: no lines, a speaker that stands twice or has no utterances, or one utterance twice in a line.
    """
    name = os.fspath(source)
    if is_rspecifier(name):
        spec = parse_rspecifier(name)
        if spec.kind != "ark":
            raise DataError("spk2utt is text", found=repr(name), expected="ark:data/train/spk2utt or the file's name")
        name = spec.rxfilename
    speakers: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(name), 1):
        spk, *utts = line.split() or [""]
        what = None
        if not utts:
            what = "malformed line"
        elif spk in speakers:
            what = f"speaker {spk!r} stands twice"
        elif len(set(utts)) < len(utts):
            what = f"an utterance of {spk!r} stands twice"
        if what is not None:
            raise DataError(what, path=name, line=number, found=repr(line.strip()[:60]), expected="'SPK UTT...'")
        speakers[spk] = utts
    if not speakers:
        raise DataError("no speakers", path=name, expected="'SPK UTT...' lines")
    return speakers
