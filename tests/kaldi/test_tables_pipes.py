"""Tables through pipes and standard streams: a failure on either side is an error, and nobody is left behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap

import kaldiio
import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter, read_table
from table_files import MATRIX, VECTOR, read, same, write


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
