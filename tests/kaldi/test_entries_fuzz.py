"""Mutated archives: the right value or a DataError, whatever was flipped, cut out, put in or cut off.

What cannot be told, because what remains is a sound archive: a flipped bit in a value or a key, a bracket or
newline of text turned into a blank or digit where the rows still fit, and a size, or bytes put in or cut out,
that happen to make a later place look like the next key. Never, though, is an entry before the damage touched, is
more memory taken than the file is long, or another exception raised.
"""

from __future__ import annotations

import contextlib
import re
import tracemalloc

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter, read_numbers, read_table

RNG = np.random.default_rng(5)
FLOATS = {key: RNG.normal(size=shape).astype(np.float32) for key, shape in (("v", 3), ("m", (4, 3)), ("w", 5))}
MATRICES = {
    key: RNG.normal(size=shape).astype(np.float32) for key, shape in (("a", (12, 3)), ("b", (2, 2)), ("c", (9, 1)))
}
TABLES = {  # wspecifier, compression, rows
    "float": ("ark", "none", FLOATS),
    "double": ("ark", "none", {key: row.astype(np.float64) for key, row in FLOATS.items()}),
    "quartiles": ("ark", "auto", MATRICES),
    "two-byte": ("ark", "two-byte", MATRICES),
    "int": ("ark", "none", {"i": np.arange(5), "j": np.array([-7, 2**30]), "k": np.arange(3)}),
    "text": ("ark,t", "none", FLOATS),
    "int text": ("ark,t", "none", {"i": np.arange(5), "j": np.array([-7, 2**30]), "k": np.arange(3)}),
}


#: What follows a key; of a compressed matrix, up to its smallest value and range.
HEADER = re.compile(rb" \0B(?:\x04....|[FD]V \x04....|[FD]M \x04....\x04....|CM[23]? )", re.DOTALL)


@pytest.fixture(params=TABLES)
def table(request, tmp_path):
    """The bytes of an archive, where its entries end, and what is in it."""
    wspecifier, compression, rows = TABLES[request.param]
    with TableWriter(f"{wspecifier},scp:{tmp_path}/a,{tmp_path}/s", compression=compression) as writer:
        for key, row in rows.items():
            writer.write(key, row)
    data = (tmp_path / "a").read_bytes()
    starts = [int(line.rpartition(":")[2]) - 2 for line in (tmp_path / "s").read_text().splitlines()]
    return data, [*starts[1:], len(data)], list(read_table(f"ark:{tmp_path}/a"))


def read(path, data: bytes) -> tuple[list, DataError | None]:
    """The entries that are read of *data*, and the error that ends them."""
    path.write_bytes(data)
    entries = []
    try:
        for entry in read_table(f"ark:{path}"):
            entries.append(entry)  # noqa: PERF402 (what came before an error counts)
    except DataError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return entries, error
    return entries, None


def sound_before(place: int, ends: list[int], expected: list, entries: list) -> None:
    """Every entry that ends at or before *place* is there and right."""
    whole = sum(end <= place for end in ends)
    assert len(entries) >= whole
    for (key, value), (right_key, right) in zip(entries[:whole], expected, strict=False):
        assert key == right_key and value.dtype == right.dtype
        np.testing.assert_array_equal(value, right)


@pytest.mark.parametrize("seed", range(3))
def test_mutations(table, tmp_path, seed):
    data, ends, expected = table
    rng = np.random.default_rng(seed)
    for _ in range(120):
        place, kind = int(rng.integers(len(data))), rng.integers(4)
        junk = (
            rng.bytes(rng.integers(1, 6)) if rng.random() < 0.5 else bytes(rng.choice(list(b"\n []B\0\4"), 2).tolist())
        )
        mutated = [
            data[:place] + bytes([data[place] ^ 1 << rng.integers(8)]) + data[place + 1 :],
            data[:place] + junk + data[place:],
            data[:place] + data[place + len(junk) :],
            data[:place],
        ][kind]
        entries, error = read(tmp_path / "x", mutated)
        sound_before(place, ends, expected, entries)
        if (
            kind == 3
            and place not in (0, *ends)
            and data[:place].rstrip(b"\n") not in [data[: end - 1] for end in ends]
        ):
            assert error is not None, (place, mutated)


@pytest.mark.parametrize("table", [name for name in TABLES if "text" not in name], indirect=True)
def test_every_flipped_bit(table, tmp_path):
    """One in the structure of a binary archive is an error or loses entries; in keys and values it changes no more."""
    data, ends, expected = table
    structure = set()
    for start in [0, *ends[:-1]]:  # each entry: a key of one byte, a blank, and this
        header = HEADER.match(data, start + 1)
        structure |= set(range(header.start(), header.end()))
        if header[0].endswith(b" "):  # compressed: two floats, then the sizes
            structure |= set(range(header.end() + 8, header.end() + 16))
    rng = np.random.default_rng(2)
    for place in range(len(data)):
        for bit in range(8) if place in structure else rng.choice(8, 2, replace=False):
            entries, error = read(tmp_path / "x", data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            sound_before(place, ends, expected, entries)
            if place in structure:
                assert error is not None or len(entries) < len(expected), (place, bit)
            elif error is None:
                assert [value.shape for _, value in entries] == [value.shape for _, value in expected]


HUGE = b"\xff\xff\xff\x7f"


@pytest.mark.parametrize("form", ["ark:{}", "ark:cat {} |"])
@pytest.mark.parametrize(
    "head",
    [b"FV \4" + HUGE, b"DV \4" + HUGE, b"FM \4" + HUGE + b"\4" + HUGE, b"FM \4\1\0\0\0\4" + HUGE, b"\4" + HUGE]
    + [kind + b" \0\0\0\0\0\0\x80\x3f" + HUGE + HUGE for kind in (b"CM", b"CM2", b"CM3")],
)
def test_a_size_of_many_gigabytes_allocates_nothing(tmp_path, head, form):
    (tmp_path / "x").write_bytes(b"k \0B" + head + bytes(3_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="damaged archive at key 'k', offset 2: the file ends"):
            list(read_table(form.format(tmp_path / "x")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (1_000_000 if form == "ark:{}" else 12_000_000)  # of a pipe, no more than what it said


def test_lines_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("svtk.kaldi.bytesource._LONGEST_LINE", 1000)
    entries, error = read(tmp_path / "x", b"k [ " + b"1 " * 10_000 + b"]\n")
    assert not entries and "a line of 1000 bytes or more" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"\0BCM \0\0\0\0\0\0\x80\x3f\1\0\0\0\xa0\x86\1\0" + bytes(900_000),  # one row of 100,000 columns
        b"[ 1 2" + b"3" * 10_000 + b" 1" * 30_000 + b" ]\n",
        b"[\n" + b" 1\n" * 10_000 + b"2" * 10_000 + b" ]\n",
    ],
    ids=["wide", "long word in a vector", "long word in a matrix"],
)
def test_memory_is_in_proportion_to_the_file(tmp_path, data):
    (tmp_path / "x").write_bytes(b"k " + data)
    tracemalloc.start()
    try:
        with contextlib.suppress(DataError):
            list(read_table(f"ark:{tmp_path}/x"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("options", ["ark", "ark,t"])
def test_mutated_numbers(tmp_path, kind, options):
    with TableWriter(f"{options}:{tmp_path}/a") as writer:
        for key, number in (("a", 3), ("b", -4), ("c", 2**31 - 1)):
            writer.write(key, kind(number))
    data = (tmp_path / "a").read_bytes()
    rng = np.random.default_rng(1)
    for place in range(len(data)):
        for mutated in (data[:place] + rng.bytes(1) + data[place + 1 :], data[:place] + data[place + 1 :]):
            (tmp_path / "x").write_bytes(mutated)
            try:
                numbers = dict(read_numbers(f"ark:{tmp_path}/x", kind))
            except DataError as error:
                assert "\n" not in str(error)
            else:
                assert all(type(number) is kind for number in numbers.values())
