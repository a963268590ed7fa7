"""Script files: ranges, entries that point astray, malformed lines."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import ScpReader, read_array
from table_files import MATRIX, VECTOR, read, write


def test_ranges_are_kaldis_and_include_their_end(tmp_path):
    path = tmp_path / "a b.ark"
    write(f"ark,scp:{path},{tmp_path}/a.scp", {"m": MATRIX, "v": VECTOR})
    entry = {key: rx for key, rx in (line.split(None, 1) for line in (tmp_path / "a.scp").read_text().splitlines())}
    ranges = {
        "[1:2]": MATRIX[1:3],
        "[0:0]": MATRIX[:1],
        "[1:2,0:1]": MATRIX[1:3, :2],
        "[:,1:1]": MATRIX[:, 1:2],
        "[2:3,:]": MATRIX[2:],
    }
    for text, expected in ranges.items():
        (tmp_path / "r").write_text(
            f"k {entry['m']}{text}\np cat '{path}' | tail -c +{entry['m'].rsplit(':')[-1]} | tail -c +2 |{text}\n"
        )
        reader = ScpReader(f"{tmp_path}/r")
        np.testing.assert_array_equal(reader["k"], expected)
        np.testing.assert_array_equal(reader["p"], expected)
    (tmp_path / "r").write_text(f"k {entry['v']}[0:1]\n")
    np.testing.assert_array_equal(ScpReader(f"{tmp_path}/r")["k"], VECTOR[:2])


@pytest.mark.parametrize(
    ("key", "text"),
    [("m", "[1:7]"), ("m", "[4:4]"), ("m", "[2:1]"), ("m", "[0:0,0:3]"), ("v", "[0:0,0:0]"), ("v", "[0:6]")],
)
def test_a_range_that_does_not_fit(tmp_path, key, text):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    lines = [line + text for line in (tmp_path / "s").read_text().splitlines()]
    (tmp_path / "s").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"s: cannot read key '{key}': .*a:[0-9]+: (the|a) range (does not fit|of 2)"):
        ScpReader(f"{tmp_path}/s")[key]


def test_a_range_may_reach_a_little_past_the_end(tmp_path, caplog):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX})
    (tmp_path / "r").write_text(f"m {tmp_path}/a:2[1:6]\n")
    np.testing.assert_array_equal(ScpReader(f"{tmp_path}/r")["m"], MATRIX[1:])
    assert "a:2: the range 1:6 ends past the last row, 3" in caplog.text


@pytest.mark.parametrize("text", ["[]", "[,1:1]", "[1:2,]", "[1]", "[1:2:3]", "[-1:2]", "[a:b]", "]"])
def test_what_is_no_range(tmp_path, text):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX})
    (tmp_path / "a]").touch()
    (tmp_path / "r").write_text(f"m {tmp_path}/a{text}\n")
    with pytest.raises(DataError, match="r: cannot read key 'm': not a range; found "):
        ScpReader(f"{tmp_path}/r")["m"]


def test_one_array_by_its_rxfilename(tmp_path):
    write(f"ark:{tmp_path}/a", {"m": MATRIX})
    np.testing.assert_array_equal(read_array(f"{tmp_path}/a:2[1:2,0:1]"), MATRIX[1:3, :2])
    np.testing.assert_array_equal(read_array(f"tail -c +3 {tmp_path}/a |"), MATRIX)
    (tmp_path / "mean.vec").write_text(" [ 1 2 ]\n")
    assert read_array(tmp_path / "mean.vec").tolist() == [1, 2]
    (tmp_path / "mean.vec").write_text(" [ 1 2 \n")
    with pytest.raises(DataError, match="mean.vec: damaged file at offset 0: the file ends before ']'"):
        read_array(tmp_path / "mean.vec")
    with pytest.raises(DataError, match="a:2: the range does not fit; found 1:9"):
        read_array(f"{tmp_path}/a:2[1:9]")


def test_script_from_stdin(tmp_path, monkeypatch):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    for name in ("scp:-", "scp:"):
        with open(tmp_path / "s") as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            assert list(read(name)) == ["m", "v"]


def test_files_that_do_not_exist_are_told_of_at_once(tmp_path, caplog):
    write(f"ark,scp:{tmp_path}/a b,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    there = (tmp_path / "s").read_text()
    gone = "".join(f"k{i} {tmp_path}/gone{i % 2}:{i}[0:1]\n" for i in range(5))
    pipes = f"p cat {tmp_path}/gone |\nq cat {tmp_path}/gone |[0:1]\n"
    (tmp_path / "r").write_text(there + gone + pipes)
    with pytest.raises(DataError, match=r"r: 5 of 9 entries .* do not exist; found 'k0' in .*gone0, 'k1'"):
        ScpReader(f"{tmp_path}/r")
    assert list(ScpReader(f"{tmp_path}/r", permissive=True)) == ["m", "v", "p", "q"]
    assert "5 of 9 entries" in caplog.text
    assert list(read(f"scp,p:{tmp_path}/r")) == ["m", "v"]
    assert "2 of 4 entries were left out" in caplog.text


def test_script_reader_is_a_mapping_that_loads_on_demand(tmp_path):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    reader = ScpReader(f"{tmp_path}/s")
    os.remove(tmp_path / "a")
    assert list(reader) == ["m", "v"] and len(reader) == 2 and "m" in reader and "x" not in reader
    with pytest.raises(DataError, match="s: cannot read key 'm': .*a: cannot open: No such file"):
        reader["m"]


def test_a_script_entry_that_points_astray(tmp_path):
    write(f"ark:{tmp_path}/a", {"m": MATRIX})
    (tmp_path / "s").write_text(f"k {tmp_path}/a:9\nl {tmp_path}/a:999\nm false |\n")
    reader = ScpReader(f"{tmp_path}/s")
    for key in "kl":
        with pytest.raises(DataError, match=f"damaged archive at key '{key}', offset 9"):
            reader[key]
    with pytest.raises(DataError, match="cannot read key 'm': input pipe failed with exit status 1"):
        reader["m"]


def test_malformed_script_lines(tmp_path):
    (tmp_path / "s").write_text("k a:2\nl\n")
    with pytest.raises(DataError, match="s:2: malformed script line; found 'l'"):
        ScpReader(f"{tmp_path}/s")
    write(f"ark:{tmp_path}/a", {"v": np.array([-1.0])})
    with pytest.raises(DataError, match=r"a:1: (not UTF-8 text|malformed script line)"):
        ScpReader(f"{tmp_path}/a")


def test_a_byte_order_mark(tmp_path):
    (tmp_path / "s").write_text("\ufeffv a.ark:2\n")
    with pytest.raises(DataError, match="s:1: it begins with a byte order mark"):
        ScpReader(f"{tmp_path}/s")


def test_a_script_file_taken_for_an_archive(tmp_path):
    write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"v": VECTOR})
    with pytest.raises(DataError, match=r"is neither a whole number nor '\[' \(a script file is read by scp:\)"):
        read(f"ark:{tmp_path}/a.scp")
    (tmp_path / "b").write_text("v 1.5\n")
    with pytest.raises(DataError, match=r"b'1\.5' is neither a whole number nor '\['\. To mend"):
        read(f"ark:{tmp_path}/b")


def test_script_file_from_a_pipe(tmp_path):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    assert list(read(f"scp:grep ^v {tmp_path}/s |")) == ["v"]
    with pytest.raises(DataError, match="input pipe failed"):
        read(f"scp:grep nothing {tmp_path}/s |")
