"""Tables: round trips, pipes, ranges, and every way an archive can be damaged, torn or hostile."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import textwrap

import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from svtk.errors import DataError
from svtk.kaldi.tables import COMPRESSION, ScpReader, TableWriter, open_rxfilename, read_table, read_vectors

VECTOR = np.array([1, 0.5, -2e-9], dtype=np.float32)
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(wspecifier: str, rows: dict[str, np.ndarray], **options) -> None:
    with TableWriter(wspecifier, **options) as writer:
        for key, row in rows.items():
            writer.write(key, row)


def read(rspecifier: str) -> dict[str, np.ndarray]:
    return dict(read_table(rspecifier))


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert list(left) == list(right)
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key])


# Round trips

keys = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


def tables(dtype: type, elements: st.SearchStrategy | None = None) -> st.SearchStrategy:
    vectors = arrays.arrays(dtype, st.integers(0, 6), elements=elements)
    matrices = arrays.arrays(dtype, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=elements)
    return st.dictionaries(keys, vectors | matrices, max_size=4)


quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@quick
@given(data=st.data())
def test_binary_round_trip(tmp_path, dtype, data):
    rows = data.draw(tables(dtype))
    write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", rows)
    same(read(f"ark:{tmp_path}/a.ark"), rows)
    same(read(f"scp:{tmp_path}/a.scp"), rows)
    same(dict(kaldiio.load_ark(f"{tmp_path}/a.ark")), rows)  # and a reader that is not ours


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@quick
@given(data=st.data())
def test_text_round_trip_keeps_every_bit_of_a_float32(tmp_path, dtype, data):
    elements = st.floats(width=32) if dtype is np.float32 else st.floats(-1e38, 1e38)
    rows = data.draw(tables(dtype, elements))
    write(f"ark,t,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", rows)
    expected = {key: row.astype(np.float32) for key, row in rows.items()}
    same(read(f"ark:{tmp_path}/a.ark"), expected)
    same(read(f"scp:{tmp_path}/a.scp"), expected)


def test_text_layout_is_kaldis(tmp_path):
    write(f"ark,t:{tmp_path}/a", {"v": VECTOR, "m": MATRIX[:2], "d": np.array([0.1])})
    expected = "v  [ 1.0 0.5 -2e-09 ]\nm  [\n  0.0 1.0 2.0 \n  3.0 4.0 5.0 ]\nd  [ 0.1 ]\n"
    assert (tmp_path / "a").read_text() == expected


def test_text_as_kaldi_writes_it(tmp_path):
    text = "v  [ 1 0.5 -2e-09 nan inf ]\nm  [\n  0 1 \n  2 3 ]\nali 1 1 2 \ni 7\nempty  [ ]\n"
    (tmp_path / "a").write_text(text)
    same(
        read(f"ark:{tmp_path}/a"),
        {
            "v": np.array([1, 0.5, -2e-9, np.nan, np.inf], dtype=np.float32),
            "m": np.array([[0, 1], [2, 3]], dtype=np.float32),
            "ali": np.array([1, 1, 2], dtype=np.float32),
            "i": np.array([7], dtype=np.float32),
            "empty": np.zeros(0, dtype=np.float32),
        },
    )


@pytest.mark.parametrize("compression", sorted(COMPRESSION))
@pytest.mark.parametrize("num_rows", [1, 2, 4, 5, 8, 9, 60])
def test_compressed_matrices_stay_close(tmp_path, compression, num_rows):
    matrix = np.random.default_rng(num_rows).normal(size=(num_rows, 7)).astype(np.float32)
    write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"m": matrix, "v": VECTOR}, compression=compression)
    span = np.ptp(matrix)
    step = {"none": 0.0, "two-byte": span / 65535, "auto": span / 65535 if num_rows <= 8 else span / 64}[compression]
    for table in (f"ark:{tmp_path}/a.ark", f"scp:{tmp_path}/a.scp"):
        back = read(table)
        assert back["m"].dtype == np.float32 and back["m"].shape == matrix.shape
        assert np.abs(back["m"] - matrix).max() <= step * 1.001
        np.testing.assert_array_equal(back["v"], VECTOR)  # vectors are never compressed


def test_compression_makes_it_smaller(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
    sizes = {}
    for name in COMPRESSION:
        write(f"ark:{tmp_path}/{name}", {"m": matrix}, compression=name)
        sizes[name] = os.path.getsize(tmp_path / name) / matrix.size
    assert sizes["none"] == pytest.approx(4, abs=0.1)
    assert sizes["two-byte"] == pytest.approx(2, abs=0.1)
    assert sizes["auto"] == pytest.approx(1, abs=0.1)


def test_constant_and_empty_matrices_survive_compression(tmp_path):
    rows = {"c": np.full((10, 3), 2.5, dtype=np.float32), "e": np.zeros((0, 0), dtype=np.float32)}
    for name in COMPRESSION:
        write(f"ark:{tmp_path}/a", rows, compression=name)
        back = read(f"ark:{tmp_path}/a")
        np.testing.assert_allclose(back["c"], 2.5, atol=1e-3)
        assert back["e"].shape == (0, 0)


def test_nan_cannot_be_compressed(tmp_path):
    with pytest.raises(DataError, match="'m' holds NaN"):
        write(f"ark:{tmp_path}/a", {"m": np.full((9, 2), np.nan)}, compression="auto")
    assert os.listdir(tmp_path) == []


def test_binary_integer_vectors_are_read(tmp_path):
    with open(tmp_path / "a", "wb") as file:
        kaldiio.save_ark(file, {"i": np.array([1, 2, 3], dtype=np.int32)})
    assert read(f"ark:{tmp_path}/a")["i"].tolist() == [1, 2, 3]


def test_arrays_may_be_written_to(tmp_path):
    write(f"ark:{tmp_path}/a", {"v": VECTOR, "m": MATRIX})
    for array in read(f"ark:{tmp_path}/a").values():
        array += 1


def test_other_numbers_are_written_as_float32(tmp_path):
    write(f"ark:{tmp_path}/a", {"i": np.arange(3), "b": np.array([1.5], dtype=">f4")})
    same(read(f"ark:{tmp_path}/a"), {"i": np.arange(3, dtype=np.float32), "b": np.array([1.5], dtype=np.float32)})


# Pipes and standard streams


@pytest.mark.parametrize("text", ["", ",t"])
def test_pipes_both_ways(tmp_path, text):
    rows = {"v": VECTOR, "m": MATRIX}
    write(f"ark{text}:| gzip -c > '{tmp_path}/a b.gz'", rows)
    same(read(f"ark:gunzip -c '{tmp_path}/a b.gz' |"), rows)


@pytest.mark.parametrize("text", ["", ",t"])
def test_standard_streams(text):
    program = textwrap.dedent(f"""
        from svtk.kaldi.tables import TableWriter, read_table
        with TableWriter("ark{text}:-") as writer:
            for key, array in read_table("ark:-"):
                writer.write(key, array + 1)
    """)
    stream = io.BytesIO()
    kaldiio.save_ark(stream, {"v": VECTOR, "m": MATRIX})
    done = subprocess.run([sys.executable, "-c", program], input=stream.getvalue(), capture_output=True, check=True)
    out = dict(kaldiio.load_ark(io.BytesIO(done.stdout)))
    np.testing.assert_array_equal(out["v"], VECTOR + 1)
    np.testing.assert_array_equal(out["m"], MATRIX + 1)


def test_a_failing_input_pipe_is_an_error_although_its_output_is_whole(tmp_path):
    write(f"ark:{tmp_path}/a", {"v": VECTOR})
    with pytest.raises(DataError, match="input pipe failed with exit status 3; found .cat .*; exit 3."):
        read(f"ark:cat {tmp_path}/a; exit 3 |")


def test_the_pipe_is_blamed_for_the_archive_it_tore(tmp_path):
    write(f"ark:{tmp_path}/a", {"v": VECTOR})
    with pytest.raises(DataError, match="input pipe failed with exit status 3") as info:
        read(f"ark:head -c 9 {tmp_path}/a; exit 3 |")
    assert "damaged archive at key 'v'" in str(info.value.__cause__)


def test_a_torn_archive_from_a_sound_pipe_is_damaged(tmp_path):
    write(f"ark:{tmp_path}/a", {"v": VECTOR})
    with pytest.raises(DataError, match="damaged archive at key 'v', offset 2"):
        read(f"ark:head -c 9 {tmp_path}/a |")


def test_a_reader_that_stops_early_leaves_no_process():
    rows = read_table("ark,t:yes 'k 1' |")
    assert next(rows)[0] == "k"
    rows.close()
    with pytest.raises(StopIteration):
        next(rows)


def test_a_failing_output_pipe_is_an_error(tmp_path):
    with pytest.raises(DataError, match="output pipe failed with exit status 4"):
        write("ark:| cat > /dev/null; exit 4", {"v": VECTOR})
    with pytest.raises(DataError, match="output pipe failed with exit status 5"):
        write("ark:| exit 5", {str(i): np.zeros(100_000) for i in range(9)})  # breaks while we write


def test_an_error_of_ours_stops_the_output_command(tmp_path):
    with pytest.raises(KeyError), TableWriter(f"ark:| cat > /dev/null && touch {tmp_path}/whole") as writer:
        writer.write("v", VECTOR)
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_rxfilenames_with_offsets(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with open_rxfilename(f"{tmp_path}/f:4") as file:
        assert file.read() == b"456789"
    with open_rxfilename(tmp_path / "f") as file:
        assert file.read(2) == b"01"
    with pytest.raises(DataError, match="nowhere: cannot open: No such file"), open_rxfilename(f"{tmp_path}/nowhere"):
        pass


# Damage


def archive(tmp_path) -> bytes:
    write(f"ark:{tmp_path}/whole", {"v": VECTOR, "m": MATRIX, "d": np.arange(3.0)})
    return (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("through", ["ark:{}", "ark:cat {} |"])
def test_every_cut_is_noticed(tmp_path, through):
    data = archive(tmp_path)
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


@quick
@given(place=st.integers(0, 200), value=st.integers(0, 255))
def test_a_changed_byte_never_escapes_as_another_error(tmp_path, place, value):
    data = bytearray(archive(tmp_path))
    data[place % len(data)] = value
    (tmp_path / "changed").write_bytes(data)
    try:
        read(f"ark:{tmp_path}/changed")
    except DataError as error:
        assert "\n" not in str(error)  # one line
        assert "changed" in str(error)


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
        b"k ",
        b"k",
    ],
)
def test_malformed_entries(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match=r"a: damaged archive at key 'k', offset [12]: ."):
        read(f"ark:{tmp_path}/a")


@pytest.mark.parametrize("data", [b" 1\n", b"\xff\xfe 1\n", b"a\0b 1\n", b"x" * 10_000])
def test_what_is_no_key(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match="damaged archive at offset 0: not a key"):
        read(f"ark:{tmp_path}/a")


def test_a_key_that_stands_twice(tmp_path):
    (tmp_path / "a").write_text("k 1\nl 2\nk 3\n")
    with pytest.raises(DataError, match="a: key 'k' stands twice"):
        read(f"ark:{tmp_path}/a")
    (tmp_path / "s").write_text("k a:2\nl a:2\nk a:2\n")
    with pytest.raises(DataError, match="s:3: key 'k' stands twice"):
        ScpReader(f"{tmp_path}/s")
    with pytest.raises(DataError, match="key 'k' was written before"), TableWriter(f"ark:{tmp_path}/w") as writer:
        writer.write("k", VECTOR)
        writer.write("k", VECTOR)
    assert not (tmp_path / "w").exists()


def test_permissive_reading_leaves_out_what_cannot_be_read(tmp_path, caplog):
    data = archive(tmp_path)
    (tmp_path / "cut").write_bytes(data[:-1])
    assert list(read(f"ark,p:{tmp_path}/cut")) == ["v", "m"]
    (tmp_path / "s").write_text(f"v {tmp_path}/whole:2\nx {tmp_path}/nowhere:2\n")
    assert list(read(f"scp,p:{tmp_path}/s")) == ["v"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


# Script files


def test_ranges_are_kaldis_and_include_their_end(tmp_path):
    path = tmp_path / "a b.ark"
    write(f"ark,scp:{path},{tmp_path}/a.scp", {"m": MATRIX, "v": VECTOR})
    entry = {key: rx for key, rx in (line.split(None, 1) for line in (tmp_path / "a.scp").read_text().splitlines())}
    ranges = {
        "[1:2]": MATRIX[1:3],
        "[0:0]": MATRIX[:1],
        "[1:2,0:1]": MATRIX[1:3, :2],
        "[,1:1]": MATRIX[:, 1:2],
        "[:,1:1]": MATRIX[:, 1:2],
        "[2:3,]": MATRIX[2:],
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


@pytest.mark.parametrize(("key", "text"), [("m", "[1:4]"), ("m", "[2:1]"), ("m", "[0:0,0:3]"), ("v", "[0:0,0:0]")])
def test_a_range_that_does_not_fit(tmp_path, key, text):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    lines = [line + text for line in (tmp_path / "s").read_text().splitlines()]
    (tmp_path / "s").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"the range of key '{key}'"):
        ScpReader(f"{tmp_path}/s")[key]


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


def test_script_file_from_a_pipe(tmp_path):
    write(f"ark,scp:{tmp_path}/a,{tmp_path}/s", {"m": MATRIX, "v": VECTOR})
    assert list(read(f"scp:grep ^v {tmp_path}/s |")) == ["v"]
    with pytest.raises(DataError, match="input pipe failed"):
        read(f"scp:grep nothing {tmp_path}/s |")


def test_vectors_in_bulk(tmp_path):
    write(f"ark:{tmp_path}/a", {"a": np.arange(3.0), "b": VECTOR})
    names, rows = read_vectors(f"ark:{tmp_path}/a")
    assert names == ["a", "b"] and rows.dtype == np.float32 and rows.shape == (2, 3)
    for extra, found in ((np.zeros(4), r"shape \(4,\); expected a vector of 3, as 'a'"), (MATRIX, r"shape \(4, 3\)")):
        write(f"ark:{tmp_path}/b", {"a": VECTOR, "c": extra})
        with pytest.raises(DataError, match=f"entry 'c' does not fit; found {found}"):
            read_vectors(f"ark:{tmp_path}/b")
    write(f"ark:{tmp_path}/empty", {})
    with pytest.raises(DataError, match="the table is empty"):
        read_vectors(f"ark:{tmp_path}/empty")


# Writing


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "a\n", "a\u00a0b"])
def test_keys_without_white_space_only(tmp_path, key):
    with pytest.raises(DataError, match="not a Kaldi key"):
        write(f"ark:{tmp_path}/a", {key: VECTOR})


def test_an_exception_leaves_nothing_under_a_final_name(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    with pytest.raises(KeyError), TableWriter(wspecifier) as writer:
        writer.write("v", VECTOR)
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_an_exception_leaves_an_earlier_result_as_it_was(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    write(wspecifier, {"v": VECTOR})
    with pytest.raises(KeyError), TableWriter(wspecifier) as writer:
        writer.write("m", MATRIX)
        raise KeyError
    same(read(f"scp:{tmp_path}/a.scp"), {"v": VECTOR})
    assert sorted(os.listdir(tmp_path)) == ["a.ark", "a.scp"]


def test_nothing_is_left_beside_a_finished_table(tmp_path):
    write(f"ark,scp:{tmp_path}/deep/a.ark,{tmp_path}/other/a.scp", {"v": VECTOR}, resume=True, fingerprint=1)
    assert os.listdir(tmp_path / "deep") == ["a.ark"] and os.listdir(tmp_path / "other") == ["a.scp"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    write("ark:/dev/null", {"v": VECTOR})
    assert not os.path.isfile("/dev/null")
    with pytest.raises(DataError, match="an scp file needs an archive on disk"):
        TableWriter(f"ark,scp:/dev/null,{tmp_path}/a.scp")
    with pytest.raises(DataError, match="an scp file needs an archive on disk"):
        TableWriter(f"ark,scp:-,{tmp_path}/a.scp")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        TableWriter(f"ark:{tmp_path}/file/a.ark")
    with pytest.raises(DataError, match="cannot write"):
        write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/file/a.scp", {"v": VECTOR})
    assert not (tmp_path / "a.ark").exists()


# Resuming

ROWS = {f"utt{i}": np.random.default_rng(i).normal(size=(i + 1, 4)).astype(np.float32) for i in range(6)}


def interrupted(tmp_path, num: int, **options) -> str:
    """Leave what a process leaves that is killed after *num* entries and half of the next."""
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    writer = TableWriter(wspecifier, resume=True, **options)
    for key in list(ROWS)[: num + 1]:
        writer.write(key, ROWS[key])
        if key == list(ROWS)[num - 1]:
            writer._file.flush()
            whole = os.path.getsize(tmp_path / "a.ark.part")
    writer._file.close()
    os.truncate(tmp_path / "a.ark.part", (whole + os.path.getsize(tmp_path / "a.ark.part")) // 2)
    assert not (tmp_path / "a.ark").exists() and not (tmp_path / "a.scp").exists()
    return wspecifier


@pytest.mark.parametrize("compression", sorted(COMPRESSION))
def test_a_killed_run_goes_on_after_its_last_whole_entry(tmp_path, compression):
    wspecifier = interrupted(tmp_path, 3, fingerprint={"model": "m"}, compression=compression)
    with TableWriter(wspecifier, resume=True, fingerprint={"model": "m"}, compression=compression) as writer:
        assert list(writer.done) == ["utt0", "utt1", "utt2"]
        for key, row in ROWS.items():
            if key not in writer.done:
                writer.write(key, row)
    write(f"ark:{tmp_path}/once", ROWS, compression=compression)
    assert (tmp_path / "a.ark").read_bytes() == (tmp_path / "once").read_bytes()
    same(read(f"scp:{tmp_path}/a.scp"), read(f"ark:{tmp_path}/once"))
    assert sorted(os.listdir(tmp_path)) == ["a.ark", "a.scp", "once"]


def test_nothing_of_a_torn_entry_remains(tmp_path):
    wspecifier = interrupted(tmp_path, 3, fingerprint=1)
    with TableWriter(wspecifier, resume=True, fingerprint=1):
        pass  # the torn entry is not wanted any more
    assert list(read(f"ark:{tmp_path}/a.ark")) == ["utt0", "utt1", "utt2"]


@pytest.mark.parametrize(
    "options",
    [
        {"fingerprint": {"model": "other"}},
        {"fingerprint": None},
        {"fingerprint": {"model": "m"}, "compression": "auto"},
    ],
)
def test_another_fingerprint_starts_afresh(tmp_path, options):
    wspecifier = interrupted(tmp_path, 3, fingerprint={"model": "m"})
    with TableWriter(wspecifier, resume=True, **options) as writer:
        assert writer.done == {}
        writer.write("new", VECTOR)
    same(read(f"scp:{tmp_path}/a.scp"), {"new": VECTOR})


def test_without_resume_nothing_is_taken_up_then_or_later(tmp_path):
    wspecifier = interrupted(tmp_path, 3, fingerprint=1)
    writer = TableWriter(wspecifier)  # killed too
    writer.write("other", VECTOR)
    writer._file.close()
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert writer.done == {}


def test_an_exception_keeps_what_can_be_resumed(tmp_path):
    wspecifier = f"ark:{tmp_path}/a.ark"
    with pytest.raises(KeyError), TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        writer.write("v", VECTOR)
        raise KeyError
    assert not (tmp_path / "a.ark").exists()
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert list(writer.done) == ["v"]
        with pytest.raises(DataError, match="'v' was written before"):
            writer.write("v", VECTOR)


def test_a_finished_archive_is_written_anew(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    write(wspecifier, {"v": VECTOR}, resume=True, fingerprint=1)
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert writer.done == {}
        same(read(f"scp:{tmp_path}/a.scp"), {"v": VECTOR})  # the old one stands until the new one is whole
        writer.write("m", MATRIX)
    same(read(f"scp:{tmp_path}/a.scp"), {"m": MATRIX})
