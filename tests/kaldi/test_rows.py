"""Rows of a matrix are those of the whole matrix, whatever its format, and no more bytes are read than they take."""

from __future__ import annotations

import io

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.bytesource import ByteSource
from svtk.kaldi.entries import decode_rows
from svtk.kaldi.tables import ScpReader
from table_files import write

ROWS, COLUMNS = 9, 70
MATRIX = np.random.default_rng(3).standard_normal((ROWS, COLUMNS)).astype(np.float32)
FORMATS = {
    "float": ("ark", MATRIX, {}),
    "double": ("ark", MATRIX.astype(np.float64), {}),
    "text": ("ark,t", MATRIX, {}),
    "by quantiles": ("ark", MATRIX, {"compression": "auto"}),
    "two bytes": ("ark", MATRIX, {"compression": "two-byte"}),
}


@pytest.fixture(params=FORMATS)
def reader(request, tmp_path):
    how, matrix, options = FORMATS[request.param]
    write(f"{how},scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"x": matrix[:2], "y": matrix, "z": matrix[:3]}, **options)
    return ScpReader(str(tmp_path / "a.scp"))


@pytest.mark.parametrize(("first", "num_rows"), [(0, 9), (0, 1), (4, 3), (8, 1), (7, 5), (9, 2), (30, 1), (3, 0)])
def test_rows_are_those_of_the_matrix(reader, first, num_rows):
    whole = reader["y"]
    rows, total = reader.rows("y", first, num_rows)
    assert total == ROWS and rows.dtype == whole.dtype
    assert rows.shape == (len(whole[first : first + num_rows]), COLUMNS)
    assert np.array_equal(rows, whole[first : first + num_rows])


def test_a_range_of_the_script_file_counts(tmp_path):
    write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"y": MATRIX})
    entry = (tmp_path / "a.scp").read_text().strip()
    (tmp_path / "b.scp").write_text(f"{entry}[2:6,1:3]\n")
    rows, total = ScpReader(str(tmp_path / "b.scp")).rows("y", 3, 9)
    assert total == 5 and np.array_equal(rows, MATRIX[5:7, 1:4])


class Counting(io.BytesIO):
    """Counts what is taken from it."""

    taken = 0

    def readinto(self, buffer):
        num = super().readinto(buffer)
        self.taken += num
        return num

    def peek(self, size):
        return self.getvalue()[self.tell() : self.tell() + 16]


@pytest.mark.parametrize("options", [{}, {"compression": "two-byte"}])
def test_other_rows_are_not_read(tmp_path, options):
    long = np.tile(MATRIX, (100, 1))
    write(f"ark:{tmp_path}/a.ark", {"k": long}, **options)
    file = Counting((tmp_path / "a.ark").read_bytes()[2:])
    rows, total = decode_rows(ByteSource(file), "a.ark", "k", 500, 3)
    assert rows.shape == (3, COLUMNS) and total == 900
    assert file.taken < 3 * COLUMNS * 4 + 64


def test_a_cut_off_matrix_is_an_error_whichever_rows_were_asked_for(tmp_path):
    write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"y": MATRIX})
    raw = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "a.ark").write_bytes(raw[:-1])
    with pytest.raises(DataError, match=r"damaged archive at key 'y', offset 2: the file ends 1 byte\(s\) too early"):
        ScpReader(str(tmp_path / "a.scp")).rows("y", 0, 1)


@pytest.mark.parametrize("how", ["ark", "ark,t"])
def test_a_vector_has_no_rows(tmp_path, how):
    write(f"{how},scp:{tmp_path}/a.ark,{tmp_path}/a.scp", {"v": MATRIX[0]})
    with pytest.raises(DataError, match="a vector where a matrix was expected"):
        ScpReader(str(tmp_path / "a.scp")).rows("v", 0, 1)
