"""Kaldi's table specifiers and extended file names, parsed once into plain records.

The grammar is that of Kaldi's ``src/util/kaldi-table.cc`` and ``kaldi-io.cc``: what is an error there is one here.
Beyond it, ``scp,ark:`` is understood as ``ark,scp:`` is, and ``ark,scp:a.scp,a.ark`` is refused.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Literal

from svtk.errors import DataError

__all__ = [
    "Range",
    "Rspecifier",
    "Rxfilename",
    "Wspecifier",
    "Wxfilename",
    "is_rspecifier",
    "parse_rspecifier",
    "parse_rxfilename",
    "parse_wspecifier",
    "parse_wxfilename",
    "split_range",
]

_READ_OPTIONS = {"o", "no", "s", "ns", "cs", "ncs", "p", "np", "bg", "t", "b"}
_WRITE_OPTIONS = {"t", "b", "f", "nf", "p"}
_ENDS = "(?:([0-9]{1,10}):([0-9]{1,10})|:)"
_RANGE = re.compile(f"{_ENDS}(?:,{_ENDS})?")

#: First and last index (both included) along one axis; None = all.
Range = tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Rspecifier:
    """Where a table is read from: ``kind`` is ``ark`` or ``scp``; ``rxfilename`` a path, ``-`` or ``cmd |``.

    ``o``, ``s``, ``cs`` and ``bg`` are promises that let Kaldi hold less in memory; they are understood and
    not needed here.
    """

    kind: str
    rxfilename: str
    permissive: bool = False


@dataclasses.dataclass(frozen=True)
class Wspecifier:
    """Where a table is written to: an archive, a script file or both.

    ``text`` for ``t``; ``flush`` (after every entry) for ``f``. ``ark`` None: ``scp`` names an existing script
    file, which says where each key goes; with ``permissive`` (``p``), keys that it does not name are left out.
    """

    ark: str | None
    scp: str | None
    text: bool = False
    permissive: bool = False
    flush: bool = False


@dataclasses.dataclass(frozen=True)
class Rxfilename:
    """What an rxfilename names: a ``file`` (``name`` a path, read from ``offset``), ``stdin`` or a ``pipe``
    (``name`` a command)."""

    kind: Literal["file", "stdin", "pipe"]
    name: str
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Wxfilename:
    """What a wxfilename names: a ``file`` (``name`` a path), ``stdout`` or a ``pipe`` (``name`` a command)."""

    kind: Literal["file", "stdout", "pipe"]
    name: str


def _split(spec: str, options: set[str], what: str) -> tuple[list[str], list[str], str]:
    head, colon, rest = spec.partition(":")
    words = re.split("[, ]", head)
    kinds = [word for word in words if word in ("ark", "scp")]
    unknown = [word for word in words if word not in options and word not in ("ark", "scp")]
    mend = None
    if not colon or not kinds:
        mend = "put 'ark:' or 'scp:' before the file"
    elif unknown:
        mend = f"take out the unknown option {unknown[0]!r}" if unknown[0] else "take out the comma or space too many"
    elif len(set(kinds)) != len(kinds):
        mend = f"name {kinds[0]!r} once"
    elif spec[-1].isspace():
        mend = "take out the white space at its end"
    if mend is not None:
        expected = "ark:FILE, scp:FILE or, for output, ark,scp:FILE.ark,FILE.scp"
        raise DataError(f"not {what}", found=repr(spec), expected=expected, mend=mend)
    return kinds, words, rest


def _last(words: list[str], yes: str, no: str) -> bool:
    """Which of two opposite options stands last; False when neither does."""
    given = [word for word in words if word in (yes, no)]
    return bool(given) and given[-1] == yes


def is_rspecifier(text: str) -> bool:
    """True when *text* starts as a table specifier does (``ark:``, ``scp,p:`` ...)."""
    head, colon, _ = text.partition(":")
    return bool(colon) and any(word in ("ark", "scp") for word in re.split("[, ]", head))


def parse_rspecifier(spec: str) -> Rspecifier:
    """Parse ``ark:f``, ``scp:f``, ``scp,p:f``, ``ark:-``, ``ark:cmd |``; no file name means stdin.

    Raises:
        DataError: not an rspecifier.

    >>> parse_rspecifier("scp,p:feats.scp")
    Rspecifier(kind='scp', rxfilename='feats.scp', permissive=True)
    """
    kinds, words, rest = _split(spec, _READ_OPTIONS, "an rspecifier")
    if len(kinds) != 1:
        raise DataError("not an rspecifier", found=repr(spec), expected="one of ark: and scp:, then a file")
    parse_rxfilename(rest)
    return Rspecifier(kinds[0], rest or "-", permissive=_last(words, "p", "np"))


def parse_wspecifier(spec: str) -> Wspecifier:
    """Parse ``ark:f``, ``ark,t:-``, ``ark,scp:a.ark,a.scp``, ``scp,ark:a.scp,a.ark``, ``scp:a.scp``.

    With both, the first comma ends the first file name; no file name means stdout (of ``scp:`` alone, stdin).

    Raises:
        DataError: not a wspecifier, or one that would write an archive to ``a.scp`` and the script file to ``a.ark``.

    >>> parse_wspecifier("ark,scp:a.ark,a.scp")
    Wspecifier(ark='a.ark', scp='a.scp', text=False, permissive=False, flush=False)
    """
    kinds, words, rest = _split(spec, _WRITE_OPTIONS, "a wspecifier")
    files = rest.split(",", 1) if len(kinds) == 2 else [rest]
    if len(files) != len(kinds) or (len(files) == 2 and files[0] == files[1]):
        raise DataError("not a wspecifier", found=repr(spec), expected="two different file names after the colon")
    if len(kinds) == 2 and [os.path.splitext(file)[1] for file in files] == [f".{kind}" for kind in reversed(kinds)]:
        mend = f"{','.join(kinds)}:{files[1]},{files[0]}"
        raise DataError("archive and script file are interchanged", found=repr(spec), mend=mend)
    named = {kind: file or "-" for kind, file in zip(kinds, files, strict=True)}
    if kinds == ["scp"]:
        parse_rxfilename(named["scp"])
    else:
        for file in named.values():
            parse_wxfilename(file)
    text, flush = _last(words, "t", "b"), _last(words, "f", "nf")
    return Wspecifier(named.get("ark"), named.get("scp"), text, permissive="p" in words, flush=flush)


def parse_rxfilename(text: str) -> Rxfilename:
    """Parse a path, ``path:offset``, ``command |``, and ``-`` or nothing for stdin.

    Raises:
        DataError: none of these: white space around it, a pipe on the wrong side, a table specifier, a NUL.

    >>> parse_rxfilename("exp/a.ark:17")
    Rxfilename(kind='file', name='exp/a.ark', offset=17)
    """
    if text in ("", "-"):
        return Rxfilename("stdin", "-")
    if text.endswith("|") and not text.startswith("|") and "\0" not in text:
        return Rxfilename("pipe", text[:-1].strip())
    _check_path(text, "an input file name", "'command |'")
    match = re.fullmatch(r"(.+):([0-9]{1,18})", text, re.DOTALL)
    return Rxfilename("file", match[1], int(match[2])) if match else Rxfilename("file", text)


def parse_wxfilename(text: str) -> Wxfilename:
    """Parse a path, ``| command``, and ``-`` or nothing for stdout.

    Raises:
        DataError: none of these, or a path that would be read back as ``path:offset``.

    >>> parse_wxfilename("| gzip -c > a.gz")
    Wxfilename(kind='pipe', name='gzip -c > a.gz')
    """
    if text in ("", "-"):
        return Wxfilename("stdout", "-")
    if text.startswith("|") and "\0" not in text:
        return Wxfilename("pipe", text[1:].strip())
    _check_path(text, "an output file name", "'| command'")
    if re.search(r":[0-9]+\Z", text):
        raise DataError("not an output file name", found=repr(text), mend="take out the offset at its end")
    return Wxfilename("file", text)


def _check_path(text: str, what: str, pipe: str) -> None:
    mend = None
    if text[0].isspace() or text[-1].isspace():
        mend = "take out the white space around it"
    elif "|" in text:
        mend = f"write a pipe as {pipe}, and no '|' in a path"
    elif is_rspecifier(text):
        mend = "give a file here, not a table: are the arguments in their order?"
    elif "\0" in text:
        mend = "take out the NUL character"
    if mend is not None:
        raise DataError(f"not {what}", found=repr(text), mend=mend)


def split_range(text: str) -> tuple[str, tuple[Range, ...]]:
    """Split a script file's entry into its rxfilename and its ranges, one per axis; ``()`` when it has none.

    Raises:
        DataError: what stands in brackets at the end is not a range.

    >>> split_range("f.ark:5[0:9,2:3]")
    ('f.ark:5', ((0, 9), (2, 3)))
    """
    if not text.endswith("]"):
        return text, ()
    name, _, inside = text[:-1].rpartition("[")
    match = _RANGE.fullmatch(inside)
    if not name or match is None:
        expected = "FILE[FIRST:LAST] or FILE[FIRST:LAST,FIRST:LAST], ':' for all"
        raise DataError("not a range", found=repr(text), expected=expected)
    rows = None if match[1] is None else (int(match[1]), int(match[2]))
    if "," not in inside:
        return name.rstrip(), (rows,)
    return name.rstrip(), (rows, None if match[3] is None else (int(match[3]), int(match[4])))
