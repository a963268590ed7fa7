"""Data directories: round trips, and files that disagree."""

from __future__ import annotations

import dataclasses
import os

import pytest

from svtk.errors import DataError
from svtk.kaldi.data_files import read_data_files
from svtk.kaldi.datadir import Utterance, read_data_dir, write_data_dir

WHOLE = [
    Utterance("s1-a", "s1", "/audio/a b.flac", "s1-a", duration=2.5, gender="f"),
    Utterance("s1-b", "s1", "sox x.mp3 -t wav - |", "s1-b", duration=1.0, gender="f"),
    Utterance("s2-a", "s2", "/audio/c.flac", "s2-a", duration=3.25, gender="m"),
]
PARTS = [
    Utterance("s1-a", "s1", "/audio/r.wav", "rec", start=0.5, end=2.0),
    Utterance("s2-a", "s2", "/audio/r.wav", "rec", start=2.0, end=None),
]


@pytest.mark.parametrize("utterances", [WHOLE, PARTS])
def test_round_trip(tmp_path, utterances):
    written = write_data_dir(tmp_path / "d", reversed(utterances))
    assert written.utterances == utterances  # sorted
    assert read_data_dir(tmp_path / "d") == written
    assert written.utt2spk == {u.utt: u.spk for u in utterances}


def test_files_as_kaldi_has_them(tmp_path):
    write_data_dir(tmp_path, WHOLE)
    assert (tmp_path / "utt2spk").read_text() == "s1-a s1\ns1-b s1\ns2-a s2\n"
    assert (tmp_path / "spk2utt").read_text() == "s1 s1-a s1-b\ns2 s2-a\n"
    assert (tmp_path / "spk2gender").read_text() == "s1 f\ns2 m\n"
    assert (tmp_path / "utt2dur").read_text() == "s1-a 2.500000\ns1-b 1.000000\ns2-a 3.250000\n"
    lines = (tmp_path / "wav.scp").read_text().splitlines()
    assert lines == ["s1-a /audio/a b.flac", "s1-b sox x.mp3 -t wav - |", "s2-a /audio/c.flac"]
    assert not (tmp_path / "segments").exists()


def test_sorted_as_under_the_c_locale(tmp_path):
    names = ["a-1", "B-1", "a1", "é", "Z"]
    write_data_dir(tmp_path, [Utterance(name, name, f"/{name}", name) for name in names])
    assert (tmp_path / "utt2spk").read_bytes().split()[::2] == sorted(name.encode() for name in names)


def test_nothing_of_an_earlier_preparation_remains(tmp_path):
    write_data_dir(tmp_path, [dataclasses.replace(u, duration=1.5, gender="f") for u in PARTS])
    new = write_data_dir(tmp_path, [Utterance("u", "s", "/u.wav", "u")])
    assert read_data_dir(tmp_path) == new
    assert sorted(os.listdir(tmp_path)) == ["spk2utt", "utt2spk", "wav.scp"]


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([], "no utterances"),
        ([WHOLE[0], WHOLE[0]], "utterance 's1-a' stands twice"),
        ([Utterance("a b", "s", "/x", "r")], "may not hold white space; found 'a b'"),
        ([Utterance("a", "", "/x", "r")], "may not hold white space; found ''"),
        (
            [Utterance("a", "s", "/x", "r"), Utterance("b", "s", "/y", "r")],
            "recording 'r' has two files; found /x and /y",
        ),
    ],
)
def test_what_cannot_be_written(tmp_path, utterances, message):
    with pytest.raises(DataError, match=message):
        write_data_dir(tmp_path / "d", utterances)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wav.scp", "s1-a /x\ns1-b\ns2-a /x\n", r"wav.scp:2: malformed line; found 's1-b'; expected 'RECORDING WAV'"),
        ("wav.scp", "s1-a /x\ns1-b /x\n", r"utt2spk:3: 's2-a' is not in wav.scp"),
        ("wav.scp", "s1-a /x\ns1-b /x\ns2-a /x\ns3-a /x\n", r"wav.scp:4: 's3-a' is not in utt2spk"),
        ("wav.scp", "s1-a /x\ns1-b /x\ns1-a /x\n", r"wav.scp:3: 's1-a' stands twice"),
        ("wav.scp", b"s1-a \xff\n", r"wav.scp: not UTF-8"),
        ("utt2spk", "", r"utt2spk: no utterances"),
        ("utt2spk", "s1-a s1\n\ns2-a s2\n", r"utt2spk:2: malformed line; found ''"),
        ("utt2spk", "s1-a s1\ns1-b s2\ns2-a s2\n", r"utt2spk:2: 's1-b' belongs to 's2' here, to 's1' in spk2utt"),
        ("spk2utt", "s1 s1-a s1-b\n", r"utt2spk:3: 's2-a' is not in spk2utt"),
        ("spk2utt", "s1 s1-a s1-b\ns2 s2-a s2-b\n", r"spk2utt:2: 's2-b' is not in utt2spk"),
        ("spk2utt", "s1 s1-a s1-b\ns2 s2-a s1-b\n", r"spk2utt:2: 's1-b' stands twice"),
        ("utt2dur", "s1-a 1\ns1-b long\ns2-a 1\n", r"utt2dur:2: not a duration in seconds; found 'long'"),
        ("utt2dur", "s1-a 1\ns1-b nan\ns2-a 1\n", r"utt2dur:2: not a duration in seconds; found 'nan'"),
        ("utt2dur", "s1-a 1\ns1-b 0\ns2-a 1\n", r"utt2dur:2: not a duration in seconds; found '0'"),
        ("utt2dur", "s1-a 1\ns1-b 1\n", r"utt2spk:3: 's2-a' is not in utt2dur"),
        ("reco2dur", "s1-a 0\n", r"reco2dur:1: not a duration in seconds; found '0'"),
        ("segments", "s1-a s1-a 0 1\ns1-b s1-b 0\n", r"segments:2: malformed segment; found 's1-b 0'"),
        ("segments", "s1-a s1-a 0 1\ns1-b s1-b 0 1 1\n", r"segments:2: malformed segment; found .s1-b 0 1 1."),
        ("segments", "s1-a s1-a 0 1 1\n", r"segments:1: malformed segment; found 's1-a 0 1 1'"),
        ("segments", "s1-a s1-a 0 1\ns1-b s1-b 2 1\n", r"segments:2: a segment must have 0 <= start < end"),
        ("segments", "s1-a s1-a -2 -1\n", r"segments:1: a segment must have 0 <= start < end"),
        ("segments", "s1-a s1-a 0 nan\n", r"segments:1: a segment must have 0 <= start < end"),
        ("segments", "s1-a rec 0 1\n", r"segments:1: recording 'rec' is not in wav.scp"),
        ("segments", "s1-a s1-a 0 1\ns1-b s1-b 0 1\n", r"utt2spk:3: 's2-a' is not in segments"),
    ],
)
def test_a_directory_whose_files_disagree(tmp_path, name, text, message):
    write_data_dir(tmp_path, WHOLE)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_data_dir(tmp_path)


def test_not_a_data_directory(tmp_path):
    with pytest.raises(DataError, match="not a Kaldi data directory; found no wav.scp"):
        read_data_dir(tmp_path)
    (tmp_path / "wav.scp").write_text("a /a\n")
    with pytest.raises(DataError, match="utt2spk: cannot read: No such file"):
        read_data_dir(tmp_path)


def test_odd_characters_do_not_break_lines(tmp_path):
    utterance = Utterance("u", "s", "/a\x0bb\u2028c.wav", "u")
    write_data_dir(tmp_path, [utterance])
    assert read_data_dir(tmp_path).utterances == [utterance]


@pytest.mark.parametrize("read", [read_data_dir, read_data_files])
@pytest.mark.parametrize(("make", "found"), [(os.mkfifo, "a named pipe"), (os.mkdir, "a directory")])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, read, make, found):
    data = write_data_dir(tmp_path / "d", WHOLE).path
    (data / "utt2spk").unlink()
    make(data / "utt2spk")
    with pytest.raises(DataError, match=f"utt2spk: not a regular file; found {found}"):
        read(data)
