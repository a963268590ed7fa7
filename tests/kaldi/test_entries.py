"""Entries: every type there and back, in binary and in text, and the bytes Kaldi would write."""

from __future__ import annotations

import os

import kaldiio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from svtk.errors import DataError
from svtk.kaldi.tables import COMPRESSION, read_numbers
from table_files import MATRIX, VECTOR, read, same, write

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


int32s = st.integers(-(2**31), 2**31 - 1)


@quick
@given(
    vectors=st.dictionaries(keys, st.lists(int32s, max_size=5), max_size=3),
    numbers=st.dictionaries(keys, int32s, max_size=3),
    reals=st.dictionaries(keys, st.floats(allow_nan=False), max_size=3),
    options=st.sampled_from(["ark", "ark,t"]),
)
def test_integers_and_numbers_round_trip(tmp_path, vectors, numbers, reals, options):
    arrays = {key: np.array(row, dtype=np.int32) for key, row in vectors.items()}
    write(f"{options}:{tmp_path}/a", arrays)
    same(read(f"ark:{tmp_path}/a"), arrays)
    for rows, kind in ((numbers, int), (reals, float)):
        write(f"{options},scp:{tmp_path}/a,{tmp_path}/s", rows)
        assert dict(read_numbers(f"ark:{tmp_path}/a", kind)) == dict(read_numbers(f"scp:{tmp_path}/s", kind)) == rows


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
            "ali": np.array([1, 1, 2], dtype=np.int32),
            "i": np.array([7], dtype=np.int32),
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


def test_integer_vectors(tmp_path):
    rows = {"i": np.array([1, -2, 2**31 - 1], dtype=np.int32), "e": np.zeros(0, dtype=np.int32)}
    for options in ("", ",t"):
        write(f"ark{options}:{tmp_path}/a", rows)
        same(read(f"ark:{tmp_path}/a"), rows)
    with open(tmp_path / "k", "wb") as file:
        kaldiio.save_ark(file, {"i": rows["i"]})
    same(read(f"ark:{tmp_path}/k"), {"i": rows["i"]})
    with pytest.raises(DataError, match="'i' has a number beyond int32"):
        write(f"ark:{tmp_path}/a", {"i": np.array([2**31])})


@pytest.mark.parametrize("options", ["ark", "ark,t"])
def test_numbers(tmp_path, options):
    numbers = {"a": 3, "b": np.int64(-4), "c": 2**31 - 1}
    write(f"{options},scp:{tmp_path}/a,{tmp_path}/s", numbers)
    assert dict(read_numbers(f"ark:{tmp_path}/a", int)) == dict(read_numbers(f"scp:{tmp_path}/s", int)) == numbers
    reals = {"f": np.float32(0.1), "d": 0.1, "n": np.float64(-1e300), "i": float("inf")}
    write(f"{options}:{tmp_path}/a", reals)
    assert dict(read_numbers(f"ark:{tmp_path}/a", float)) == (
        reals if options == "ark" else {**reals, "f": 0.1}  # text has no type: 0.1 is 0.1
    )
    with pytest.raises(DataError, match="damaged archive at key '[fd]'"):  # a float of 4 bytes passes for an int
        dict(read_numbers(f"ark:{tmp_path}/a", int))


def test_arrays_may_be_written_to(tmp_path):
    write(f"ark:{tmp_path}/a", {"v": VECTOR, "m": MATRIX})
    for array in read(f"ark:{tmp_path}/a").values():
        array += 1


def test_other_numbers_are_written_as_float32(tmp_path):
    odd = {"m": np.arange(4).reshape(2, 2), "b": np.array([1.5], dtype=">f4"), "v": np.array([True, False])}
    write(f"ark:{tmp_path}/a", odd)
    same(read(f"ark:{tmp_path}/a"), {key: value.astype(np.float32) for key, value in odd.items()})
    for value in ("a", np.zeros((1, 1, 1)), True, 1j):
        with pytest.raises(ValueError, match="no vector, matrix or number"):
            write(f"ark:{tmp_path}/a", {"k": value})


def test_matrices_of_no_values_are_kaldis(tmp_path):
    for options in ("", ",t"):
        write(f"ark{options}:{tmp_path}/a", {"e": np.zeros((0, 5)), "f": np.zeros((5, 0)), "v": VECTOR})
        back = read(f"ark:{tmp_path}/a")
        assert back["e"].size == back["f"].size == 0
        np.testing.assert_array_equal(back["v"], VECTOR)


def test_text_that_is_like_kaldis(tmp_path):
    (tmp_path / "a").write_text("m [ 1 2 ; 3 4 ]\r\ne []\n \t v\t[ 1 INF -Infinity NaN 1e-3 ]\nnone\n")
    same(
        read(f"ark:{tmp_path}/a"),
        {
            "m": np.array([[1, 2], [3, 4]], dtype=np.float32),
            "e": np.zeros(0, dtype=np.float32),
            "v": np.array([1, np.inf, -np.inf, np.nan, 1e-3], dtype=np.float32),
            "none": np.zeros(0, dtype=np.int32),
        },
    )


def test_what_compression_cannot_hold(tmp_path):
    for wide in ([[3e38, -3e38]], [[1e300, 0]], [[3.4e38, 3.4e38]]):
        with pytest.raises(DataError, match="'m' holds .* too wide a range"):
            write(f"ark:{tmp_path}/a", {"m": np.array(wide * 9)}, compression="auto")
