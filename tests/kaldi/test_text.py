"""Text by extended file names, spk2utt, and who may have stdin."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from svtk.errors import DataError
from svtk.kaldi.text import only_one, read_spk2utt, read_text, write_text


def test_read_text(tmp_path, monkeypatch):
    (tmp_path / "t").write_bytes(b"a b\nc\xc3\xa9\n\nlast")
    expected = ["a b\n", "cé\n", "\n", "last"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "t").read_bytes())))
    for name in (tmp_path / "t", f"cat {tmp_path}/t |", "-"):
        assert list(read_text(name)) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no such", "no such: cannot open: No such file"),
        ("echo a; exit 3 |", "input pipe failed with exit status 3; found 'echo a; exit 3'"),
        ("printf 'a\\n\\377\\n' |", "2: not UTF-8 text"),
        ("printf '\\357\\273\\277a\\n' |", "1: it begins with a byte order mark"),
    ],
)
def test_what_is_no_text(name, message):
    with pytest.raises(DataError) as raised:
        list(read_text(name))
    assert message in str(raised.value)


def test_write_text(tmp_path, capsys):
    lines = ["a", "é"]
    write_text(tmp_path / "t", lines)
    write_text("-", lines)
    write_text(f"| cat > {tmp_path}/p", lines)
    text = "a\né\n"
    assert (tmp_path / "t").read_text() == (tmp_path / "p").read_text() == capsys.readouterr().out == text


def test_a_path_object_is_a_path_whatever_it_looks_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b ", "f:17", "| cat", "-"):
        write_text(Path(name), [name])
        assert list(read_text(Path(name))) == [f"{name}\n"]
    assert sorted(os.listdir()) == ["-", "a b ", "f:17", "| cat"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    write_text(tmp_path / "f", ["old"])

    def lines():
        yield "new"
        raise KeyError

    with pytest.raises(KeyError):
        write_text(tmp_path / "f", lines())
    assert (tmp_path / "f").read_text() == "old\n" and os.listdir(tmp_path) == ["f"]
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "f" / "g", ["x"])


def test_a_device_is_written_to_and_not_replaced():
    write_text("/dev/null", ["x"])
    assert not os.path.isfile("/dev/null")


def test_a_failing_output_pipe():
    with pytest.raises(DataError, match="output pipe failed with exit status 4; found 'exit 4'"):
        write_text("| exit 4", ("x" * 1000 for _ in range(1000)))


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    def lines():
        yield "a"
        raise DataError("no more")

    for name in (tmp_path / "t", f"| cat > {tmp_path}/p.part && mv {tmp_path}/p.part {tmp_path}/p"):
        with pytest.raises(DataError, match="no more"):
            write_text(name, lines())
    assert not (tmp_path / "t").exists() and not (tmp_path / "p").exists()


@pytest.mark.parametrize("source", ["{}", "ark:{}", "ark,t:{}", "ark:cat {} |", "cat {} |"])
def test_read_spk2utt(tmp_path, source):
    (tmp_path / "s").write_text("b u2 u1\na u3 u1\n")
    read = read_spk2utt(source.format(tmp_path / "s"))
    assert list(read.items()) == [("b", ["u2", "u1"]), ("a", ["u3", "u1"])]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s: no speakers"),
        ("a u1\nb\n", "s:2: malformed line; found 'b'; expected 'SPK UTT...'"),
        ("a u1\n\n", "s:2: malformed line; found ''"),
        ("a u1\na u2\n", "s:2: speaker 'a' stands twice"),
        ("a u1 u2 u1\n", "s:1: an utterance of 'a' stands twice; found 'a u1 u2 u1'"),
    ],
)
def test_what_is_no_spk2utt(tmp_path, text, message):
    (tmp_path / "s").write_text(text)
    with pytest.raises(DataError) as raised:
        read_spk2utt(tmp_path / "s")
    assert message in str(raised.value)
    with pytest.raises(DataError, match="spk2utt is text"):
        read_spk2utt(f"scp:{tmp_path}/s")


@pytest.mark.parametrize("names", [("-", "ark:-"), ("ark,t:-", "scp:-"), ("-", None, "ark:")])
def test_two_may_not_have_stdin(names):
    with pytest.raises(DataError, match="A and [BC] cannot both be stdin. To mend: use stdin for one"):
        only_one("stdin", dict(zip("ABC", names, strict=False)))


@pytest.mark.parametrize("names", [("ark,scp:a.ark,-", "ark,t:-"), ("scp,ark:-,a.ark", "-"), ("ark:", "ark,t:")])
def test_two_may_not_have_stdout(names):
    with pytest.raises(DataError, match="A and B cannot both be stdout"):
        only_one("stdout", dict(zip("AB", names, strict=True)))
    only_one("stdout", {"A": names[0], "B": "ark,scp:-.ark,a-", "C": "scp:-"})


@pytest.mark.parametrize("names", [("-", "scp:a"), ("a", None, "ark:-"), ("cat - |", "ark:-")])
def test_one_may(names):
    only_one("stdin", dict(zip("ABC", names, strict=False)))
