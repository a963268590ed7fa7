"""Tables as Kaldi writes them, byte for byte (README.md says how they were made), read with no other package."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from svtk.kaldi.tables import read_numbers, read_table

FIXTURES = Path(__file__).parent / "fixtures"

VECTORS = {"a": np.array([1, 0.5, -2, 0]), "nan": np.array([np.nan, np.inf, -np.inf]), "none": np.zeros(0)}
MATRICES = {"m": np.arange(6).reshape(3, 2) - 2.5, "row": np.array([[1.0, 2.0]]), "none": np.zeros((0, 0))}
INTEGERS = {"i": np.array([1, -2, 2147483647]), "none": np.zeros(0, int)}
COUNTS = {"a": 3, "b": -4}
SECONDS = {"a": 0.25, "b": 12.5}
BYTES = np.arange(256.0).reshape(32, 8)
COMPRESSED = {  # Kaldi's method → values that it keeps exactly, or nearly
    "kSpeechFeature": BYTES,
    "kTwoByteAuto": BYTES * 257,
    "kTwoByteSignedInteger": BYTES - 128,
    "kOneByteAuto": BYTES,
    "kOneByteUnsignedInteger": BYTES,
    "kOneByteZeroOne": BYTES / 255,
}


def write_fixtures() -> None:
    """Write all into the working directory."""
    import kaldi_native_io as kaldi

    def write(writer: str, name: str, rows: dict) -> None:
        for wspecifier in (f"ark,scp:{name}.ark,{name}.scp", f"ark,t:{name}.txt"):
            with getattr(kaldi, writer)(wspecifier) as table:
                for key, value in rows.items():
                    table.write(key, value)

    for dtype, kind in ((np.float32, "Float"), (np.float64, "Double")):
        write(
            f"{kind}VectorWriter", f"{kind.lower()}_vectors", {key: row.astype(dtype) for key, row in VECTORS.items()}
        )
        write(
            f"{kind}MatrixWriter", f"{kind.lower()}_matrices", {key: row.astype(dtype) for key, row in MATRICES.items()}
        )
        write(f"{kind}Writer", f"{kind.lower()}s", SECONDS)
    write("Int32VectorWriter", "int32_vectors", {key: row.tolist() for key, row in INTEGERS.items()})
    write("Int32Writer", "int32s", COUNTS)
    with kaldi.CompressedMatrixWriter("ark,scp:compressed.ark,compressed.scp") as table:
        for method, matrix in COMPRESSED.items():
            table.write(method, matrix.astype(np.float32), getattr(kaldi.CompressionMethod, method))
        table.write("none", np.zeros((0, 0), np.float32), kaldi.CompressionMethod.kAutomaticMethod)
        table.write("last", np.ones((1, 1), np.float32), kaldi.CompressionMethod.kAutomaticMethod)


@pytest.fixture(autouse=True)
def among_the_fixtures(monkeypatch):
    monkeypatch.chdir(FIXTURES)


def same(rspecifier: str, rows: dict[str, np.ndarray], dtype: type, **tolerance) -> None:
    back = dict(read_table(rspecifier))
    assert list(back) == list(rows)
    for key, row in rows.items():
        assert back[key].dtype == dtype and back[key].size == row.size
        np.testing.assert_allclose(back[key], row.reshape(back[key].shape), **{"rtol": 0, **tolerance})


@pytest.mark.parametrize("kind", ["float", "double"])
def test_vectors_and_matrices(kind):
    for name, rows in (("vectors", VECTORS), ("matrices", MATRICES)):
        for table in ("ark:{}.ark", "scp:{}.scp", "ark:cat {}.ark |"):
            same(table.format(f"{kind}_{name}"), rows, np.float32 if kind == "float" else np.float64)
        same(f"ark:{kind}_{name}.txt", rows, np.float32)


def test_integers_and_numbers():
    for end in ("ark", "txt"):
        same(f"ark:int32_vectors.{end}", INTEGERS, np.int32)
        assert dict(read_numbers(f"ark:int32s.{end}", int)) == COUNTS
        assert dict(read_numbers(f"ark:floats.{end}", float)) == SECONDS
        assert dict(read_numbers(f"ark:doubles.{end}", float)) == SECONDS
    same("scp:int32_vectors.scp", INTEGERS, np.int32)
    assert dict(read_numbers("scp:int32s.scp", int)) == COUNTS


def test_compressed_matrices():
    for table in ("ark:compressed.ark", "scp:compressed.scp"):
        back = dict(read_table(table))
        assert list(back) == [*COMPRESSED, "none", "last"]
        assert back["none"].shape == (0, 0) and back["last"].tolist() == [[1.0]]
        for method, matrix in COMPRESSED.items():
            assert back[method].dtype == np.float32
            tolerance = 1.0 if method == "kSpeechFeature" else 0.003
            np.testing.assert_allclose(back[method], matrix, atol=tolerance, err_msg=method)


def test_text_by_hand():
    back = dict(read_table("ark:by_hand.txt"))
    expected = {"rows": [[1, 2], [3, 4]], "none": [], "tab": [1, 2], "crlf": [5, 6], "inf": [np.inf, -np.inf, np.nan]}
    assert {key: row.tolist() for key, row in back.items() if key != "inf"} == {
        key: row for key, row in expected.items() if key != "inf"
    }
    np.testing.assert_array_equal(back["inf"], expected["inf"])


def test_kaldi_writes_these_bytes(tmp_path, monkeypatch):
    pytest.importorskip("kaldi_native_io", reason="it has no wheel for this machine")
    monkeypatch.chdir(tmp_path)
    write_fixtures()
    assert {path.name for path in FIXTURES.iterdir()} == {*os.listdir(tmp_path), "by_hand.txt"}
    for name in os.listdir(tmp_path):
        new, old = (bytearray(directory.joinpath(name).read_bytes()) for directory in (tmp_path, FIXTURES))
        if name == "compressed.ark":
            for data in (new, old):
                place = data.index(b"none \0BCM ") + len(b"none \0BCM ")
                data[place : place + 4] = bytes(4)  # undefined
        assert new == old, name


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    os.chdir(FIXTURES)
    write_fixtures()
