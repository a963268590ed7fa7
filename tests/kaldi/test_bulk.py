"""Bulk reading gives what reading entry by entry gives, whatever the pieces, and the same errors."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi import bulk
from svtk.kaldi.tables import TableWriter, read_table, read_vectors

DIM = 7


def entry(key: str, row: np.ndarray) -> bytes:
    kind = b"FV " if row.dtype == np.float32 else b"DV "
    return key.encode() + b" \0B" + kind + b"\4" + len(row).to_bytes(4, "little") + row.tobytes()


@pytest.fixture
def rows(tmp_path):
    """300 vectors in e.ark and e.scp; keys of many lengths, not all ASCII; values that hold the bytes of a header."""
    rng = np.random.default_rng(0)
    found = {f"{'k' * (i * 7 % 31)}é{i}": rng.normal(size=DIM).astype(np.float32) for i in range(300)}
    trap = np.frombuffer(b"a \0BFV \4" + DIM.to_bytes(4, "little") + bytes(4 * DIM - 12), np.float32)
    found["trap"] = trap.copy()
    with TableWriter(f"ark,scp:{tmp_path}/e.ark,{tmp_path}/e.scp") as writer:
        for key, row in found.items():
            writer.write(key, row)
    return found


def same(result, expected):
    keys, rows = result
    assert keys == list(expected) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.stack(list(expected.values())))


@pytest.mark.parametrize("piece", [1, 37, 1000, 1 << 20])
@pytest.mark.parametrize("source", ["ark:{}/e.ark", "ark:cat {}/e.ark |", "scp:{}/e.scp", "scp:cat {}/e.scp |"])
def test_as_entry_by_entry(tmp_path, monkeypatch, rows, piece, source):
    monkeypatch.setattr(bulk, "_PIECE", piece)
    same(read_vectors(source.format(tmp_path)), rows)


def test_the_bulk_is_read_in_bulk(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("svtk.kaldi.tables.read_key", None)
    monkeypatch.setattr("svtk.kaldi.scripts.decode_array", None)
    same(read_vectors(f"ark:{tmp_path}/e.ark"), rows)
    same(read_vectors(f"scp:{tmp_path}/e.scp"), rows)


def test_script_files_in_any_order_over_several_archives(tmp_path, monkeypatch, rows):
    lines = (tmp_path / "e.scp").read_text().splitlines(keepends=True)
    with TableWriter(f"ark,scp:{tmp_path}/f.ark,{tmp_path}/f.scp") as writer:
        writer.write("other", np.arange(DIM, dtype=np.float32))
    chosen = [*lines[200:90:-3], *(tmp_path / "f.scp").read_text().splitlines(keepends=True), *lines[:3]]
    (tmp_path / "g.scp").write_text("".join(chosen))
    for seek in (0, 1 << 16):
        monkeypatch.setattr(bulk, "_SEEK", seek)
        same(read_vectors(f"scp:{tmp_path}/g.scp"), dict(read_table(f"scp:{tmp_path}/g.scp")))


@pytest.mark.parametrize("piece", [50, 1 << 20])
@pytest.mark.parametrize("form", ["ark:{}/m", "ark:cat {}/m |"])
def test_other_entries_among_them_are_left_to_the_other_reader(tmp_path, monkeypatch, rows, piece, form):
    monkeypatch.setattr(bulk, "_PIECE", piece)
    tail = entry("double", np.arange(DIM, dtype=np.float64)) + b"text  [ " + b"1 " * DIM + b"]\n"
    (tmp_path / "m").write_bytes((tmp_path / "e.ark").read_bytes() + tail + entry("last", rows["trap"]))
    doubles = {"double": np.arange(DIM, dtype=np.float32), "text": np.ones(DIM, np.float32), "last": rows["trap"]}
    same(read_vectors(form.format(tmp_path)), rows | doubles)
    with TableWriter(f"ark:{tmp_path}/d") as writer:
        writer.write("d", np.arange(DIM, dtype=np.float64))
    same(read_vectors(f"ark:{tmp_path}/d"), {"d": np.arange(DIM)})


@pytest.mark.parametrize("piece", [50, 1 << 20])
@pytest.mark.parametrize("form", ["ark:{}/m", "ark:cat {}/m |"])
@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (entry("trap", np.zeros(DIM, np.float32)), "key 'trap' stands twice"),
        (entry("short", np.zeros(DIM - 1, np.float32)), r"entry 'short' does not fit; found shape \(6,\)"),
        (entry("cut", np.zeros(DIM, np.float32))[:-1], "archive at key 'cut', offset {}: the file ends 1 byte"),
        (entry("a\u00a0b", np.zeros(DIM, np.float32)), "damaged archive at offset {}: not a key"),
        (b"\xff" + entry("a", np.zeros(DIM, np.float32)), "damaged archive at offset {}: not a key"),
    ],
    ids=["twice", "short", "cut", "space", "bytes"],
)
def test_what_is_wrong_is_named_as_ever(tmp_path, monkeypatch, rows, piece, form, tail, message):
    monkeypatch.setattr(bulk, "_PIECE", piece)
    whole = (tmp_path / "e.ark").read_bytes()
    (tmp_path / "m").write_bytes(whole + tail)
    with pytest.raises(DataError, match=message.format(len(whole) + (4 if b"cut " in tail else 0))):
        read_vectors(form.format(tmp_path))
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(DataError, match="the table is empty"):
        read_vectors(form.format(tmp_path))


@pytest.mark.parametrize("form", ["ark:{}/m", "ark:cat {}/m |", "scp:{}/m.scp"])
def test_a_damaged_size_is_no_memory(tmp_path, rows, form):
    whole = bytearray((tmp_path / "e.ark").read_bytes())
    start = whole.index(b"\0BFV \4") + 6
    whole[start : start + 4] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "m").write_bytes(whole)
    (tmp_path / "m.scp").write_text((tmp_path / "e.scp").read_text().replace("e.ark", "m"))
    with pytest.raises(DataError, match=r"damaged archive at key '.*0', offset \d+: the file ends \d+ byte"):
        read_vectors(form.format(tmp_path))
