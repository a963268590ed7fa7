"""Kaldi's own C++ input and output (the package kaldi_native_io) reads all that we write, and we all that it writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.specifiers import parse_rspecifier, parse_wspecifier
from svtk.kaldi.tables import COMPRESSION, ScpReader, read_numbers, read_table
from table_files import write

kaldi = pytest.importorskip("kaldi_native_io", reason="it has no wheel for this machine")
# Its readers and writers that refuse to open are half made, and say so when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RNG = np.random.default_rng(3)
VECTORS = {
    "v1": np.array([1, 0.5, -2e-9, 1 / 3, 3e38, np.inf, np.nan]),
    "v-2": RNG.normal(size=192),
    "é": np.zeros(1),
    "empty": np.zeros(0),
}
MATRICES = {
    "m1": RNG.normal(size=(20, 5)),
    "row": RNG.normal(size=(1, 3)),
    "1": np.ones((1, 1)),
    "e": np.zeros((0, 0)),
}
INTEGERS = {"i": [1, -2, 2**31 - 1, -(2**31)], "e": [], "z": [0]}
NUMBERS = {"a": 3, "b": -4, "c": 2**31 - 1, "z": 0}

FORMS = {  # ours → the names of Kaldi's readers and writers
    "float vectors": ("FloatVector", VECTORS, np.float32),
    "double vectors": ("DoubleVector", VECTORS, np.float64),
    "float matrices": ("FloatMatrix", MATRICES, np.float32),
    "double matrices": ("DoubleMatrix", MATRICES, np.float64),
    "integers": ("Int32Vector", INTEGERS, np.int32),
}
AS_TYPED = [pytest.param(*form, id=name) for name, form in FORMS.items()]


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def kaldi_read(kind: str, rspecifier: str) -> dict:
    with getattr(kaldi, f"Sequential{kind}Reader")(rspecifier) as reader:
        return {key: np.array(value) for key, value in reader}  # a copy: the reader's own is soon freed


def kaldi_write(kind: str, wspecifier: str, rows: dict) -> None:
    with getattr(kaldi, f"{kind}Writer")(wspecifier) as writer:
        for key, value in rows.items():
            writer.write(key, value.tolist() if kind == "Int32Vector" else value)


def same(left: dict, right: dict, **tolerance) -> None:
    assert list(left) == list(right)
    for key in left:
        if left[key].size == right[key].size == 0:
            continue  # text does not tell an empty vector from an empty matrix
        assert left[key].shape == right[key].shape
        np.testing.assert_allclose(left[key], right[key], **{"rtol": 0, "atol": 0, **tolerance})


@pytest.mark.parametrize("options", ["ark", "ark,t"])
@pytest.mark.parametrize(("kind", "rows", "dtype"), AS_TYPED)
def test_kaldi_reads_what_we_write(kind, rows, dtype, options):
    rows = {key: np.array(row, dtype=dtype) for key, row in rows.items()}
    write(f"{options},scp:a b.ark,a.scp", rows)
    same(kaldi_read(kind, "ark:a b.ark"), rows)
    same(kaldi_read(kind, "scp:a.scp"), rows)
    write(f"{options}:| cat > c.ark", rows)
    same(kaldi_read(kind, "ark:cat c.ark |"), rows)


@pytest.mark.parametrize("options", ["ark", "ark,t"])
@pytest.mark.parametrize(("kind", "rows", "dtype"), AS_TYPED)
def test_we_read_what_kaldi_writes(kind, rows, dtype, options):
    rows = {key: np.array(row, dtype=dtype) for key, row in rows.items()}
    kaldi_write(kind, f"{options},scp:a b.ark,a.scp", rows)
    tolerance = {"rtol": 1e-6} if options == "ark,t" else {}  # Kaldi writes 7 digits
    for table in ("ark:a b.ark", "scp:a.scp", "ark:cat 'a b.ark' |", "scp:cat a.scp |"):
        back = dict(read_table(table))
        same(back, rows, **tolerance)
        assert {row.dtype for row in back.values()} <= {np.dtype(dtype), np.dtype(np.float32)}
    assert options == "ark,t" or {row.dtype for row in back.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("options", ["ark", "ark,t"])
def test_numbers_both_ways(options):
    write(f"{options},scp:i,i.scp", NUMBERS)
    assert {key: int(x) for key, x in kaldi_read("Int32", "scp:i.scp").items()} == NUMBERS
    kaldi_write("Int32", f"{options}:k", NUMBERS)
    assert Path("k").read_bytes() == Path("i").read_bytes()
    assert dict(read_numbers("ark:k", int)) == NUMBERS
    reals = {"a": 0.1, "b": -1e-30, "c": 12345678.0}
    write(f"{options}:d", reals)
    assert kaldi_read("Double", "ark:d") == reals
    assert kaldi_read("Float", "ark:d") == {key: np.float32(x) for key, x in reals.items()}
    for kind in ("Float", "Double"):
        kaldi_write(kind, f"{options}:k", reals)
        assert dict(read_numbers("ark:k", float)) == pytest.approx(reals, rel=1e-6)


@pytest.mark.parametrize("method", kaldi.CompressionMethod.__members__)
def test_every_compression_of_kaldis_is_read_as_kaldi_reads_it(method):
    wide, short = RNG.uniform(0, 1, size=(20, 5)), RNG.uniform(0, 1, size=(3, 2))
    if method.endswith("Integer"):
        wide, short = (wide * 255).round(), (short * 255).round()
    with kaldi.CompressedMatrixWriter("ark,scp:a,s") as writer:
        for key, matrix in (("w", wide), ("e", np.zeros((0, 0))), ("s", short), ("c", np.full((9, 2), 0.5))):
            writer.write(key, matrix.astype(np.float32), getattr(kaldi.CompressionMethod, method))
    theirs = kaldi_read("FloatMatrix", "scp:s")  # of "ark:a", Kaldi takes four zeros after "e" for part of a key
    for table in ("ark:a", "scp:s"):
        same(dict(read_table(table)), theirs, rtol=2e-7, atol=2e-8)


@pytest.mark.parametrize("compression", sorted(COMPRESSION))
def test_kaldi_reads_our_compressed_matrices_as_we_do(compression):
    rows = {"tall": RNG.normal(size=(200, 24)), "8": RNG.normal(size=(8, 3)), "c": np.ones((9, 2))}
    write("ark,scp:a,s", {key: row.astype(np.float32) for key, row in rows.items()}, compression=compression)
    ours = dict(read_table("ark:a"))
    same(kaldi_read("FloatMatrix", "ark:a"), ours, rtol=2e-7, atol=5e-7)
    with kaldi.CompressedMatrixWriter("ark:k") as writer:  # and Kaldi's own compression loses as much
        for key, row in rows.items():
            writer.write(key, row.astype(np.float32), kaldi.CompressionMethod(COMPRESSION[compression] or 3))
    theirs = kaldi_read("FloatMatrix", "ark:k")
    for key, row in rows.items():
        assert np.abs(ours[key] - row).max() <= 1.01 * np.abs(theirs[key] - row).max() + 1e-6


RANGES = ["[0:0]", "[1:2]", "[1:2,0:1]", "[:,1:1]", "[1:2,:]", "[:]", "[:,:]", "[0:4]", "[0:6]"]
NO_RANGES = ["[0:7]", "[4:4]", "[0:1,0:3]", "[3:2]", "[]", "[,1:1]", "[1:2,]", "[1]", "[0:1,0:1,0:1]", "[x:y]", "]"]


@pytest.mark.parametrize("text", RANGES + NO_RANGES)
def test_ranges_of_matrices_are_kaldis(text):
    write("ark:a", {"m": np.arange(12, dtype=np.float32).reshape(4, 3)})
    with open("s", "w") as file:
        file.write(f"m a:2{text}\n")
    ours = theirs = None
    with contextlib.suppress(DataError):
        ours = ScpReader("s")["m"]
    with contextlib.suppress(RuntimeError):
        theirs = kaldi_read("FloatMatrix", "scp:s").get("m")
    assert (ours is None) == (theirs is None) == (text in NO_RANGES)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("text", ["[0:0]", "[1:3]", "[:]", "[0:5]", "[0:7]", "[0:8]", "[3:2]", "[5:5]", "[0:1,:]"])
def test_ranges_of_vectors_are_kaldis(text):
    write("ark:a", {"v": np.arange(5, dtype=np.float32)})
    with open("s", "w") as file:
        file.write(f"v a:2{text}\n")
    ours = theirs = None
    with contextlib.suppress(DataError):
        ours = ScpReader("s")["v"]
    with contextlib.suppress(RuntimeError):
        theirs = kaldi_read("FloatVector", "scp:s").get("v")
    np.testing.assert_array_equal(ours, theirs)


READ = "ark:a scp:a scp,p:a p,scp:a s,cs,o,ark,bg:a no,ns,ncs,np,t,b,ark:a ark,scp:a ark,f:a ark,x:a ark,:a ,ark:a a"
READ = [
    *READ.split(),
    "ark:a ",
    "ark: a",
    "b, ark:a",
    "ark t:a",
    "ark:cat a|",
    "ark: cat a |",
    "ark:cat a | ",
    "ark:a|b",
]
WRITE = "ark,t:n t,ark:n ark,f,nf,p,b:n ark,np:n ark,o:n ark,scp:n,m ark,scp:n ark,p,q:n ark,ark:n ark:n:12 n ark:ark:n"
WRITE = [*WRITE.split(), "ark:| cat > n", "ark:|cat|", "ark:cat | tac", "ark:n ", "ark: n", "ark:cat |", "ark:n|m"]


def accepted(use: Callable) -> bool:
    try:
        use()
    except (DataError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("spec", READ)
def test_rspecifiers_are_accepted_and_refused_as_by_kaldi(spec):
    script = "scp" in spec and "ark" not in spec
    write(f"ark,t:{'b' if script else 'a'}", {"k": np.array([1.0])})
    if script:
        Path("a").write_text("k b:2\n")
    by_kaldi = accepted(lambda: kaldi.SequentialFloatVectorReader(spec).close())
    assert accepted(lambda: parse_rspecifier(spec)) == by_kaldi


@pytest.mark.parametrize("spec", WRITE)
def test_wspecifiers_are_accepted_and_refused_as_by_kaldi(spec):
    by_kaldi = accepted(lambda: kaldi.FloatVectorWriter(spec).close())
    assert accepted(lambda: parse_wspecifier(spec)) == by_kaldi


def test_kaldi_refuses_the_archives_that_we_refuse():
    """Damage that both can tell; Kaldi's readers end by an error or, as it does with a torn last entry, early."""
    write("ark:a", {"m": np.ones((3, 4), np.float32), "n": np.ones((2, 4), np.float32)})
    data = Path("a").read_bytes()
    for place, value in ((2, b"\1"), (3, b"C"), (4, b"X"), (7, b"\5"), (12, b"\5"), (11, b"\xff")):
        with open("b", "wb") as file:
            file.write(data[:place] + value + data[place + 1 :])
        with pytest.raises(DataError, match="b: damaged archive at key 'm', offset 2"):
            dict(read_table("ark:b"))
        with pytest.raises(RuntimeError):
            kaldi_read("FloatMatrix", "ark:b")
