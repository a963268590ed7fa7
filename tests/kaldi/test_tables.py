"""Tables as a whole: what stands twice, what is left out, vectors in bulk."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import ScpReader, TableWriter, read_vectors
from table_files import MATRIX, VECTOR, read, three_entries, write


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
    data = three_entries(tmp_path / "whole")
    (tmp_path / "cut").write_bytes(data[:-1])
    assert list(read(f"ark,p:{tmp_path}/cut")) == ["v", "m"]
    (tmp_path / "s").write_text(f"v {tmp_path}/whole:2\nx {tmp_path}/nowhere:2\n")
    assert list(read(f"scp,p:{tmp_path}/s")) == ["v"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


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
