"""Kaldi's rspecifiers and wspecifiers (``src/util/kaldi-table.h``), parsed once into plain records."""

from __future__ import annotations

import dataclasses

from svtk.errors import DataError

__all__ = ["Rspecifier", "Wspecifier", "is_rspecifier", "parse_rspecifier", "parse_wspecifier"]

_READ_OPTIONS = {"o", "no", "s", "ns", "cs", "ncs", "p", "np", "bg", "t", "b"}
_WRITE_OPTIONS = {"t", "b", "f", "nf", "p", "np"}


@dataclasses.dataclass(frozen=True)
class Rspecifier:
    """Where a table is read from: ``kind`` is ``ark`` or ``scp``; ``rxfilename`` a path, ``-`` or ``cmd |``."""

    kind: str
    rxfilename: str
    permissive: bool = False


@dataclasses.dataclass(frozen=True)
class Wspecifier:
    """Where a table is written to: an archive, a script file or both; ``text`` for ``t``."""

    ark: str | None
    scp: str | None
    text: bool = False
    permissive: bool = False


def _split(spec: str, options: set[str], what: str) -> tuple[list[str], list[str], str]:
    head, colon, rest = spec.partition(":")
    words = head.split(",")
    kinds = [word for word in words if word in ("ark", "scp")]
    unknown = [word for word in words if word not in options and word not in ("ark", "scp")]
    if not colon or not kinds or unknown or len(set(kinds)) != len(kinds):
        mend = "put 'ark:' or 'scp:' before the file"
        if colon and kinds and unknown:
            mend = f"take out the unknown option {unknown[0]!r}"
        expected = "ark:FILE, scp:FILE or, for output, ark,scp:FILE.ark,FILE.scp"
        raise DataError(f"not {what}", found=repr(spec), expected=expected, mend=mend)
    return kinds, words, rest.strip()


def is_rspecifier(text: str) -> bool:
    """True when *text* starts as a table specifier does (``ark:``, ``scp,p:`` ...)."""
    head, colon, _ = text.partition(":")
    return bool(colon) and any(word in ("ark", "scp") for word in head.split(","))


def parse_rspecifier(spec: str) -> Rspecifier:
    """Parse ``ark:f``, ``scp:f``, ``scp,p:f``, ``ark:-``, ``ark:cmd |``.

    Raises:
        DataError: not an rspecifier.

    >>> parse_rspecifier("scp,p:feats.scp")
    Rspecifier(kind='scp', rxfilename='feats.scp', permissive=True)
    """
    kinds, words, rest = _split(spec, _READ_OPTIONS, "an rspecifier")
    if len(kinds) != 1 or not rest:
        raise DataError("not an rspecifier", found=repr(spec), expected="one of ark: or scp:, then a file")
    return Rspecifier(kinds[0], rest, permissive="p" in words)


def parse_wspecifier(spec: str) -> Wspecifier:
    """Parse ``ark:f``, ``ark,t:-``, ``ark,scp:a.ark,a.scp``, ``scp,ark:a.scp,a.ark``.

    Raises:
        DataError: not a wspecifier, or one without an archive.

    >>> parse_wspecifier("ark,scp:a.ark,a.scp")
    Wspecifier(ark='a.ark', scp='a.scp', text=False, permissive=False)
    """
    kinds, words, rest = _split(spec, _WRITE_OPTIONS, "a wspecifier")
    text = "t" in words
    files = [rest] if len(kinds) == 1 else [part.strip() for part in rest.split(",")]
    if len(files) != len(kinds) or not all(files) or len(set(files)) != len(files):
        raise DataError(
            "not a wspecifier", found=repr(spec), expected=f"{len(kinds)} different file name(s) after the colon"
        )
    named = dict(zip(kinds, files, strict=True))
    if "ark" not in named:
        raise DataError("scp: alone cannot be written", found=repr(spec), expected="ark,scp:FILE.ark,FILE.scp")
    return Wspecifier(named.get("ark"), named.get("scp"), text, permissive="p" in words)
