"""Specifiers: a table of what is understood and what is refused, as Kaldi does; and no text breaks the parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svtk.errors import DataError
from svtk.kaldi.specifiers import (
    Rspecifier,
    Rxfilename,
    Wspecifier,
    Wxfilename,
    is_rspecifier,
    parse_rspecifier,
    parse_rxfilename,
    parse_wspecifier,
    parse_wxfilename,
    split_range,
)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ark:a.ark", Rspecifier("ark", "a.ark")),
        ("ark:-", Rspecifier("ark", "-")),
        ("ark:", Rspecifier("ark", "-")),
        ("scp:", Rspecifier("scp", "-")),
        ("ark:gunzip -c a:b.gz |", Rspecifier("ark", "gunzip -c a:b.gz |")),
        ("ark: gunzip -c a.gz |", Rspecifier("ark", " gunzip -c a.gz |")),
        ("ark:copy scp:f.scp ark:- |", Rspecifier("ark", "copy scp:f.scp ark:- |")),
        ("scp,p:f.scp", Rspecifier("scp", "f.scp", permissive=True)),
        ("p,scp:f.scp", Rspecifier("scp", "f.scp", permissive=True)),
        ("scp,np:f.scp", Rspecifier("scp", "f.scp")),
        ("scp,p,np:f.scp", Rspecifier("scp", "f.scp")),
        ("scp,np,p:f.scp", Rspecifier("scp", "f.scp", permissive=True)),
        ("s,cs,o,ark,bg:a b.ark", Rspecifier("ark", "a b.ark")),
        ("no,ns,ncs,t,b,ark:a", Rspecifier("ark", "a")),
        ("ark t:a", Rspecifier("ark", "a")),
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
        ("ark:", Wspecifier("-", None)),
        ("t,ark:-", Wspecifier("-", None, text=True)),
        ("t,b,ark:-", Wspecifier("-", None)),
        ("ark:| gzip -c > a.gz", Wspecifier("| gzip -c > a.gz", None)),
        ("ark,scp:a.ark,a.scp", Wspecifier("a.ark", "a.scp")),
        ("ark,scp:a.ark,-", Wspecifier("a.ark", "-")),
        ("ark,scp:a.ark,", Wspecifier("a.ark", "-")),
        ("ark,scp:a.ark,| sort -k 1,1 > a.scp", Wspecifier("a.ark", "| sort -k 1,1 > a.scp")),
        ("scp,ark:a.scp,a.ark", Wspecifier("a.ark", "a.scp")),
        ("ark,t,scp,f:a b.ark,a b.scp", Wspecifier("a b.ark", "a b.scp", text=True, flush=True)),
        ("ark,f,nf,p:a", Wspecifier("a", None, permissive=True)),
        ("scp:a.scp", Wspecifier(None, "a.scp")),
        ("scp,p:make-scp |", Wspecifier(None, "make-scp |", permissive=True)),
    ],
)
def test_wspecifiers(text, parsed):
    assert parse_wspecifier(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *["a.ark", ":", "ark", "foo:a", "ark,ark:a", "ark,scp:a,b", "ark,x:a", "ark,f:a", "ark,:a", ",ark:a", "ARK:a"],
        "",
        "ark: ",
        "ark:a ",
        "b, ark:a",
    ],
)
def test_not_rspecifiers(text):
    with pytest.raises(DataError, match="not an rspecifier"):
        parse_rspecifier(text)


@pytest.mark.parametrize(
    "text",
    [*["a.ark", "ark,scp:a.ark", "ark,scp:a,a", "ark,p,q:a", "ark,np:a", "ark,o:a", "scp,scp:a", "ark,:a"], "ark:a "],
)
def test_not_wspecifiers(text):
    with pytest.raises(DataError, match="not a wspecifier"):
        parse_wspecifier(text)


def test_the_unknown_option_is_named():
    for swapped, mend in (
        ("ark,scp:b.scp,b.ark", "ark,scp:b.ark,b.scp"),
        ("t,scp,ark:d/b.ark,a/b.scp", "scp,ark:a/b.scp,d/b.ark"),
    ):
        with pytest.raises(DataError, match=f"archive and script file are interchanged.* To mend: {mend}$"):
            parse_wspecifier(swapped)
    with pytest.raises(DataError, match="take out the comma or space too many"):
        parse_rspecifier("ark, t:f")
    for parse in (parse_rxfilename, parse_wxfilename):
        with pytest.raises(DataError, match="give a file here, not a table: are the arguments in their order"):
            parse("scp:e.scp")
    with pytest.raises(DataError, match="unknown option 'tt'"):
        parse_wspecifier("ark,tt:a.ark")


@pytest.mark.parametrize("text", ["data/dir", "C:/dir", "data:dir", "arc:x", ""])
def test_plain_paths_are_not_rspecifiers(text):
    assert not is_rspecifier(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", Rxfilename("stdin", "-")),
        ("-", Rxfilename("stdin", "-")),
        ("a b", Rxfilename("file", "a b")),
        ("a:12", Rxfilename("file", "a", 12)),
        ("a:b:12", Rxfilename("file", "a:b", 12)),
        (":12", Rxfilename("file", ":12")),
        ("a:", Rxfilename("file", "a:")),
        ("a:1x", Rxfilename("file", "a:1x")),
        ("cat a | tac |", Rxfilename("pipe", "cat a | tac")),
    ],
)
def test_rxfilenames(text, parsed):
    assert parse_rxfilename(text) == parsed


@pytest.mark.parametrize("text", [" ", " a", "a ", "| cat", "|", "a|b", "cat | tac", "ark:a", "scp,p:a", "a\0", "a\0|"])
def test_not_rxfilenames(text):
    with pytest.raises(DataError, match="not an input file name"):
        parse_rxfilename(text)
    with pytest.raises(DataError, match="not an (input file name|rspecifier)"):
        parse_rspecifier(f"ark:{text}")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", Wxfilename("stdout", "-")),
        ("-", Wxfilename("stdout", "-")),
        ("a b", Wxfilename("file", "a b")),
        ("|", Wxfilename("pipe", "")),
        ("| tac | cat", Wxfilename("pipe", "tac | cat")),
    ],
)
def test_wxfilenames(text, parsed):
    assert parse_wxfilename(text) == parsed


@pytest.mark.parametrize("text", [" ", " a", "a ", "cat |", "a|b", "ark:a", "a:12", "a\0"])
def test_not_wxfilenames(text):
    with pytest.raises(DataError, match="not an output file name"):
        parse_wxfilename(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("a:5", ("a:5", ())),
        ("a[1].ark", ("a[1].ark", ())),
        ("a:5[0:9]", ("a:5", ((0, 9),))),
        ("a[:]", ("a", (None,))),
        ("a[:,3:4]", ("a", (None, (3, 4)))),
        ("a[3:4,:]", ("a", ((3, 4), None))),
        ("a[1].ark:7[3:4,0:0]", ("a[1].ark:7", ((3, 4), (0, 0)))),
        ("cat a | [0:1]", ("cat a |", ((0, 1),))),
    ],
)
def test_ranges(text, parsed):
    assert split_range(text) == parsed


# Properties

options = st.permutations(["t", "b", "f", "nf", "p"]).flatmap(lambda words: st.integers(0, 5).map(lambda n: words[:n]))
paths = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="|,"), min_size=1).filter(
    lambda path: not is_rspecifier(path) and path != "-" and parse_rxfilename(path).offset == 0
)


@given(st.data(), options, paths, paths)
def test_what_is_put_together_is_taken_apart(data, options, ark, scp):
    kinds, files = data.draw(
        st.sampled_from([(["ark"], [ark]), (["ark", "scp"], [ark, scp]), (["scp", "ark"], [scp, ark])])
    )
    words = options + kinds
    order = data.draw(st.permutations(words)) if len(kinds) == 1 else words
    if len(set(files)) < len(files):
        return
    try:
        for file in files:
            parse_wxfilename(file)
    except DataError:
        return  # such as a:007, an offset of no value that still is one
    spec = parse_wspecifier(f"{','.join(order)}:{','.join(files)}")
    assert spec == Wspecifier(
        ark,
        scp if "scp" in kinds else None,
        text=[word for word in order if word in "tb"][-1:] == ["t"],
        permissive="p" in order,
        flush=[word for word in order if word in ("f", "nf")][-1:] == ["f"],
    )


@given(st.text() | st.text(alphabet="arkscptbf,:|-[]0123 a.\0\n"))
def test_any_text_is_understood_or_refused(text):
    for parse in (parse_rspecifier, parse_wspecifier, parse_rxfilename, parse_wxfilename, split_range):
        try:
            parse(text)
        except DataError as error:
            assert "\n" not in str(error)
    is_rspecifier(text)
