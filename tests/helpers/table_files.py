"""Tables written and read whole, for the tests of Kaldi's files."""

from __future__ import annotations

import numpy as np

from svtk.kaldi.tables import TableWriter, read_table

VECTOR = np.array([1, 0.5, -2e-9], dtype=np.float32)
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(wspecifier: str, rows: dict, **options) -> None:
    with TableWriter(wspecifier, **options) as writer:
        for key, row in rows.items():
            writer.write(key, row)


def read(rspecifier: str) -> dict[str, np.ndarray]:
    return dict(read_table(rspecifier))


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Keys in their order, types and values are the same."""
    assert list(left) == list(right)
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key])


def three_entries(path) -> bytes:
    """An archive of a float vector ``v``, a float matrix ``m`` and a double vector ``d``, written to *path*."""
    write(f"ark:{path}", {"v": VECTOR, "m": MATRIX, "d": np.arange(3.0)})
    return path.read_bytes()
