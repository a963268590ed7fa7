"""Specifiers: a table of what is understood and what is refused."""

from __future__ import annotations

import pytest

from svtk.errors import DataError
from svtk.kaldi.specifiers import Rspecifier, Wspecifier, is_rspecifier, parse_rspecifier, parse_wspecifier


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ark:a.ark", Rspecifier("ark", "a.ark")),
        ("ark:-", Rspecifier("ark", "-")),
        ("ark:gunzip -c a:b.gz |", Rspecifier("ark", "gunzip -c a:b.gz |")),
        ("ark:copy scp:f.scp ark:- |", Rspecifier("ark", "copy scp:f.scp ark:- |")),
        ("scp,p:f.scp", Rspecifier("scp", "f.scp", permissive=True)),
        ("p,scp:f.scp", Rspecifier("scp", "f.scp", permissive=True)),
        ("scp,np:f.scp", Rspecifier("scp", "f.scp")),
        ("s,cs,o,ark,bg:a b.ark", Rspecifier("ark", "a b.ark")),
        ("ark:/a/b.ark:17", Rspecifier("ark", "/a/b.ark:17")),
    ],
)
def test_rspecifiers(text, parsed):
    assert parse_rspecifier(text) == parsed
    assert is_rspecifier(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ark:a.ark", Wspecifier("a.ark", None)),
        ("ark,t:-", Wspecifier("-", None, text=True)),
        ("t,ark:-", Wspecifier("-", None, text=True)),
        ("ark:| gzip -c > a.gz", Wspecifier("| gzip -c > a.gz", None)),
        ("ark,scp:a.ark,a.scp", Wspecifier("a.ark", "a.scp")),
        ("scp,ark:a.scp,a.ark", Wspecifier("a.ark", "a.scp")),
        ("ark,t,scp,f:a b.ark, a b.scp", Wspecifier("a b.ark", "a b.scp", text=True)),
    ],
)
def test_wspecifiers(text, parsed):
    assert parse_wspecifier(text) == parsed


@pytest.mark.parametrize(
    "text", ["a.ark", "", ":", "ark", "ark:", "ark: ", "foo:a", "ark,ark:a", "ark,scp:a,b", "ark,x:a"]
)
def test_not_rspecifiers(text):
    with pytest.raises(DataError, match="not an rspecifier"):
        parse_rspecifier(text)


@pytest.mark.parametrize(
    "text", ["a.ark", "ark:", "scp:a.scp", "ark,scp:a.ark", "ark,scp:a,b,c", "ark,scp:a,", "ark,scp:a,a", "ark,p,q:a"]
)
def test_not_wspecifiers(text):
    with pytest.raises(DataError, match="not a wspecifier|scp: alone cannot be written"):
        parse_wspecifier(text)


def test_the_unknown_option_is_named():
    with pytest.raises(DataError, match="unknown option 'tt'"):
        parse_wspecifier("ark,tt:a.ark")


@pytest.mark.parametrize("text", ["data/dir", "C:/dir", "data:dir", "arc:x", ""])
def test_plain_paths_are_not_rspecifiers(text):
    assert not is_rspecifier(text)
