"""PLDA, LDA and mean files: bytes as Kaldi's own code lays them out, round trips, and damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.plda import Plda, read_matrix, read_plda, read_vector, write_matrix, write_plda, write_vector

SMALL = Plda(np.array([0.5, -1.0]), np.array([[1.0, 2.0], [0.25, 4.0]]), np.array([3.0, 0.125]))

# Written out by hand from Kaldi's sources: Plda::Write, WriteToken, VectorBase::Write and MatrixBase::Write.
BINARY = (
    b"\0B<Plda> "
    + (b"DV \4" + struct.pack("<i", 2) + struct.pack("<2d", 0.5, -1))
    + (b"DM \4" + struct.pack("<i", 2) + b"\4" + struct.pack("<i", 2) + struct.pack("<4d", 1, 2, 0.25, 4))
    + (b"DV \4" + struct.pack("<i", 2) + struct.pack("<2d", 3, 0.125))
    + b"</Plda> "
)
TEXT = b"<Plda>  [ 0.5 -1.0 ]\n [\n  1.0 2.0 \n  0.25 4.0 ]\n [ 3.0 0.125 ]\n</Plda> "
FLOAT = (
    b"\0B<Plda> "
    + (b"FV \4" + struct.pack("<i", 2) + struct.pack("<2f", 0.5, -1))
    + (b"FM \4" + struct.pack("<i", 2) + b"\4" + struct.pack("<i", 2) + struct.pack("<4f", 1, 2, 0.25, 4))
    + (b"FV \4" + struct.pack("<i", 2) + struct.pack("<2f", 3, 0.125))
    + b"</Plda> "
)


def same(left: Plda, right: Plda) -> bool:
    return all(
        a.dtype == np.float64 and np.array_equal(a, b)
        for a, b in zip(vars(left).values(), vars(right).values(), strict=True)
    )


@pytest.mark.parametrize(("text", "expected"), [(False, BINARY), (True, TEXT)])
def test_written_as_kaldi_writes(tmp_path, text, expected):
    write_plda(tmp_path / "plda", SMALL, text=text)
    assert (tmp_path / "plda").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["plda"]


@pytest.mark.parametrize("data", [BINARY, FLOAT, TEXT, b"<Plda>[ 5e-1 -1]\n[ 1 2\n0.25 4 ]\n[3 0.125]</Plda>\n"])
def test_reads_what_kaldi_writes(tmp_path, data):
    (tmp_path / "plda").write_bytes(data)
    assert same(read_plda(tmp_path / "plda"), SMALL)
    assert same(read_plda(f"cat {tmp_path}/plda |"), SMALL)


@pytest.mark.parametrize("text", [False, True])
def test_no_bit_is_lost(tmp_path, text):
    rng = np.random.default_rng(1)
    plda = Plda(rng.normal(size=5) * 1e-30, rng.normal(size=(5, 5)), rng.random(5) * 1e9)
    write_plda(tmp_path / "plda", plda, text=text)
    assert same(read_plda(tmp_path / "plda"), plda)


DAMAGED = {
    "empty": b"",
    "cut": BINARY[:60],
    "end token": BINARY.replace(b"</Plda>", b"</Pldb>"),
    "vector for a matrix": BINARY.replace(b"DM", b"DV"),
    "huge size": BINARY.replace(b"DV \4" + struct.pack("<i", 2), b"DV \4" + struct.pack("<i", 2**31 - 1), 1),
    "negative size": BINARY.replace(b"DV \4" + struct.pack("<i", 2), b"DV \4" + struct.pack("<i", -2), 1),
    "not square": TEXT.replace(b"\n  0.25 4.0", b""),
    "ragged": TEXT.replace(b"0.25 4.0", b"0.25"),
    "a word": TEXT.replace(b"0.25", b"x"),
    "not text": b"\xff\xfe",
    "nan": TEXT.replace(b"0.25", b"nan"),
    "negative psi": TEXT.replace(b"0.125", b"-0.125"),
    "other dimensions": TEXT.replace(b"3.0 0.125", b"3.0"),
    "nothing in it": b"<Plda>  [ ]\n [ ]\n [ ]\n</Plda> ",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_named(tmp_path, data):
    (tmp_path / "plda").write_bytes(data)
    with pytest.raises(DataError, match=str(tmp_path / "plda")):
        read_plda(tmp_path / "plda")


def test_every_cut_is_noticed(tmp_path):
    for end in range(len(BINARY)):
        (tmp_path / "plda").write_bytes(BINARY[:end])
        with pytest.raises(DataError):
            read_plda(tmp_path / "plda")


@pytest.mark.parametrize("data", [BINARY, TEXT])
def test_mutations_give_a_model_or_an_error(tmp_path, data):
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutated = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        (tmp_path / "plda").write_bytes(mutated)
        try:
            plda = read_plda(tmp_path / "plda")
        except DataError:
            continue
        assert plda.transform.shape == (plda.dim, plda.dim) and np.isfinite(plda.transform).all()


def test_vectors_and_matrices(tmp_path):
    write_vector(tmp_path / "v", np.array([1.5, -2]))
    assert (tmp_path / "v").read_bytes() == b"\0BFV \4" + struct.pack("<i2f", 2, 1.5, -2)
    write_matrix(tmp_path / "m", np.array([[1.5, -2, 3]]))
    assert (tmp_path / "m").read_bytes() == b"\0BFM \4" + struct.pack("<i", 1) + b"\4" + struct.pack(
        "<i3f", 3, 1.5, -2, 3
    )
    np.testing.assert_array_equal(read_vector(tmp_path / "v"), [1.5, -2])
    np.testing.assert_array_equal(read_matrix(tmp_path / "m"), [[1.5, -2, 3]])
    (tmp_path / "v").write_text(" [ 1.5 -2 ]\n")
    (tmp_path / "m").write_text(" [\n  1.5 -2 3 ]\n")
    np.testing.assert_array_equal(read_vector(tmp_path / "v"), [1.5, -2])
    np.testing.assert_array_equal(read_matrix(tmp_path / "m"), [[1.5, -2, 3]])
    np.testing.assert_array_equal(read_vector(f"{tmp_path}/v[1:1]"), [-2])
    with pytest.raises(DataError, match=r"v: .*found shape \(2,\); expected a matrix"):
        read_matrix(tmp_path / "v")
    with pytest.raises(DataError, match=r"m: .*expected a vector"):
        read_vector(tmp_path / "m")
    (tmp_path / "v").write_text(" [ nan 1 ]\n")
    with pytest.raises(DataError, match="NaN"):
        read_vector(tmp_path / "v")
    with pytest.raises(DataError, match="cannot open"):
        read_vector(tmp_path / "none")
    for data in (b"", b"garbage", b"\0BFV \4\2\0\0\0half"):
        (tmp_path / "v").write_bytes(data)
        with pytest.raises(DataError, match="v: damaged file at offset 0"):
            read_vector(tmp_path / "v")


def test_nothing_half_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_plda(tmp_path / "file" / "plda", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    write_plda("/dev/null", SMALL)
    write_plda(f"| cat > {tmp_path}/piped", SMALL)
    assert (tmp_path / "piped").read_bytes() == BINARY
