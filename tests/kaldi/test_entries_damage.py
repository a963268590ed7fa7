"""Archives that are cut off, malformed or hostile: an error that names file, key and offset."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from svtk.errors import DataError
from table_files import read, three_entries, write


@pytest.mark.parametrize("through", ["ark:{}", "ark:cat {} |"])
def test_every_cut_is_noticed(tmp_path, through):
    data = three_entries(tmp_path / "whole")
    ends = {0, data.index(b"m \0B"), data.index(b"d \0B"), len(data)}
    cuts = range(len(data)) if through == "ark:{}" else (1, 3, 12, 20, len(data) - 1)
    for cut in cuts:
        (tmp_path / "cut").write_bytes(data[:cut])
        if cut in ends:
            read(through.format(tmp_path / "cut"))
        else:
            with pytest.raises(DataError, match=r"damaged archive at key '[vmd]', offset \d+"):
                read(through.format(tmp_path / "cut"))


def test_every_cut_of_a_compressed_or_text_entry_is_noticed(tmp_path):
    for wspecifier, name in (("ark", "auto"), ("ark", "two-byte"), ("ark,t", "none")):
        write(f"{wspecifier}:{tmp_path}/whole", {"m": np.arange(60.0).reshape(20, 3)}, compression=name)
        data = (
            (tmp_path / "whole").read_bytes().rstrip(b"\n") if "t" in wspecifier else (tmp_path / "whole").read_bytes()
        )
        for cut in range(1, len(data)):
            (tmp_path / "cut").write_bytes(data[:cut])
            with pytest.raises(DataError, match="damaged archive at key 'm'"):
                read(f"ark:{tmp_path}/cut")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("through", ["ark:a", "ark:cat a |", "scp:a.scp", "scp:p.scp"])
def test_nothing_is_unpickled(tmp_path, monkeypatch, through):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"key PKL" + pickle.dumps(Bomb()))
    (tmp_path / "a.scp").write_text("key a:4\n")
    (tmp_path / "p.scp").write_text("key tail -c +5 a |\n")
    with pytest.raises(DataError, match="'key' at offset .* is a pickle"):
        read(through)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("head", [b"NPY", b"AUDIO\1\1x", b"RIFF....WAVE", b"fLaC"])
def test_what_is_no_matrix_is_refused(tmp_path, head):
    (tmp_path / "a").write_bytes(b"key " + head)
    with pytest.raises(DataError, match="entry 'key' at offset 4 is "):
        read(f"ark:{tmp_path}/a")


@pytest.mark.parametrize(
    "data",
    [
        b"k \0BFV \4\xff\xff\xff\xff",  # a negative size
        b"k \0BFM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f",  # 2^62 values
        b"k \0BXX \4\1\0\0\0",
        b"k  [ 1 two ]\n",
        b"k  [\n 1 2 \n 3 ]\n",
        b"k  [ 1 2\n 3 4 ]\n",
        b"k  [ 1 ] [ 2 ]\n",
        b"k 1 x\n",
        b"k 1 0.5\n",
        b"k 4294967296\n",
        b"k [ 1_0 ]\n",
        b"k [ 0x1 ]\n",
        b"k [ 1e99 ]\n",
        b"k [ 1 2 \n",
        b"k \0C",
        b"k \0BFM \4\0\0\0\0\4\3\0\0\0",  # no rows of three
        b"k \0BFV \10\1\0\0\0\0\0\0\0",
        b"k \0B\4\2\0\0\0\4\1\0\0\0\5\1\0\0\0",  # the second integer is not of 4 bytes
        b"k \0BCM2 \0\0\xc0\x7f\0\0\0\0\1\0\0\0\1\0\0\0\0\0",  # values from NaN
        b"k \0BCM \0\0\0\0\0\0\x80\x3f\1\0\0\0\1\0\0\0\2\0\1\0\3\0\4\0\0",  # quartiles out of order
        b"k ",
        b"k",
    ],
)
def test_malformed_entries(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match=r"a: damaged archive at key 'k', offset [12]: ."):
        read(f"ark:{tmp_path}/a")


@pytest.mark.parametrize("data", [b"\xff\xfe 1\n", b"a\0b 1\n", b"x" * 10_000])
def test_what_is_no_key(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match="damaged archive at offset 0: not a key"):
        read(f"ark:{tmp_path}/a")
