"""Writing: whole or absent, one file per key, and an interrupted run taken up."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from svtk.errors import DataError
from svtk.kaldi.bytesource import ByteSource
from svtk.kaldi.tables import COMPRESSION, TableWriter
from table_files import MATRIX, VECTOR, read, same, write


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "a\n", "a\u00a0b"])
def test_keys_without_white_space_only(tmp_path, key):
    with pytest.raises(DataError, match="not a Kaldi key"):
        write(f"ark:{tmp_path}/a", {key: VECTOR})


def test_an_exception_leaves_nothing_under_a_final_name(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    with pytest.raises(KeyError), TableWriter(wspecifier) as writer:
        writer.write("v", VECTOR)
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_an_exception_leaves_an_earlier_result_as_it_was(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    write(wspecifier, {"v": VECTOR})
    with pytest.raises(KeyError), TableWriter(wspecifier) as writer:
        writer.write("m", MATRIX)
        raise KeyError
    same(read(f"scp:{tmp_path}/a.scp"), {"v": VECTOR})
    assert sorted(os.listdir(tmp_path)) == ["a.ark", "a.scp"]


def test_nothing_is_left_beside_a_finished_table(tmp_path):
    write(f"ark,scp:{tmp_path}/deep/a.ark,{tmp_path}/other/a.scp", {"v": VECTOR}, resume=True, fingerprint=1)
    assert os.listdir(tmp_path / "deep") == ["a.ark"] and os.listdir(tmp_path / "other") == ["a.scp"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    write("ark:/dev/null", {"v": VECTOR})
    assert not os.path.isfile("/dev/null")
    with pytest.raises(DataError, match="an scp file needs an archive on disk"):
        TableWriter(f"ark,scp:/dev/null,{tmp_path}/a.scp")
    with pytest.raises(DataError, match="an scp file needs an archive on disk"):
        TableWriter(f"ark,scp:-,{tmp_path}/a.scp")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        TableWriter(f"ark:{tmp_path}/file/a.ark")
    with pytest.raises(DataError, match="cannot write"):
        write(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/file/a.scp", {"v": VECTOR})
    assert not (tmp_path / "a.ark").exists()


# Resuming

ROWS = {f"utt{i}": np.random.default_rng(i).normal(size=(i + 1, 4)).astype(np.float32) for i in range(6)}


@pytest.fixture
def interrupted(tmp_path, killed):
    """Leave what a process leaves that is killed after *num* entries and half of the next; gives the wspecifier."""

    def run(num: int, **options) -> str:
        def work():
            with TableWriter(f"ark,scp,f:{tmp_path}/a.ark,{tmp_path}/a.scp", **options) as writer:
                for key in list(ROWS)[: num + 1]:
                    writer.write(key, ROWS[key])
                    if key == list(ROWS)[num - 1]:
                        whole = os.path.getsize(tmp_path / "a.ark.part")
                os.truncate(tmp_path / "a.ark.part", (whole + os.path.getsize(tmp_path / "a.ark.part")) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        killed(work)
        assert not (tmp_path / "a.ark").exists() and not (tmp_path / "a.scp").exists()
        return f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"

    return run


@pytest.mark.parametrize("compression", sorted(COMPRESSION))
def test_a_killed_run_goes_on_after_its_last_whole_entry(tmp_path, interrupted, compression):
    wspecifier = interrupted(3, resume=True, fingerprint={"model": "m"}, compression=compression)
    with TableWriter(wspecifier, resume=True, fingerprint={"model": "m"}, compression=compression) as writer:
        assert list(writer.done) == ["utt0", "utt1", "utt2"]
        for key, row in ROWS.items():
            if key not in writer.done:
                writer.write(key, row)
    write(f"ark:{tmp_path}/once", ROWS, compression=compression)
    assert (tmp_path / "a.ark").read_bytes() == (tmp_path / "once").read_bytes()
    same(read(f"scp:{tmp_path}/a.scp"), read(f"ark:{tmp_path}/once"))
    assert sorted(os.listdir(tmp_path)) == ["a.ark", "a.scp", "once"]


def test_nothing_of_a_torn_entry_remains(tmp_path, interrupted):
    wspecifier = interrupted(3, resume=True, fingerprint=1)
    with TableWriter(wspecifier, resume=True, fingerprint=1):
        pass  # the torn entry is not wanted any more
    assert list(read(f"ark:{tmp_path}/a.ark")) == ["utt0", "utt1", "utt2"]


@pytest.mark.parametrize(
    "options",
    [
        {"fingerprint": {"model": "other"}},
        {"fingerprint": None},
        {"fingerprint": {"model": "m"}, "compression": "auto"},
    ],
)
def test_another_fingerprint_starts_afresh(tmp_path, interrupted, options):
    wspecifier = interrupted(3, resume=True, fingerprint={"model": "m"})
    with TableWriter(wspecifier, resume=True, **options) as writer:
        assert writer.done == {}
        writer.write("new", VECTOR)
    same(read(f"scp:{tmp_path}/a.scp"), {"new": VECTOR})


def test_without_resume_nothing_is_taken_up_then_or_later(tmp_path, interrupted):
    wspecifier = interrupted(3, resume=True, fingerprint=1)
    interrupted(1, resume=False)
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert writer.done == {}


def test_an_exception_keeps_what_can_be_resumed(tmp_path):
    wspecifier = f"ark:{tmp_path}/a.ark"
    with pytest.raises(KeyError), TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        writer.write("v", VECTOR)
        raise KeyError
    assert not (tmp_path / "a.ark").exists()
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert list(writer.done) == ["v"]
        with pytest.raises(DataError, match="'v' was written before"):
            writer.write("v", VECTOR)


def test_a_finished_archive_is_written_anew(tmp_path):
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    write(wspecifier, {"v": VECTOR}, resume=True, fingerprint=1)
    with TableWriter(wspecifier, resume=True, fingerprint=1) as writer:
        assert writer.done == {}
        same(read(f"scp:{tmp_path}/a.scp"), {"v": VECTOR})  # the old one stands until the new one is whole
        writer.write("m", MATRIX)
    same(read(f"scp:{tmp_path}/a.scp"), {"m": MATRIX})


def test_taking_up_reads_headers_and_not_the_data(tmp_path, interrupted, monkeypatch):
    wspecifier = interrupted(3, resume=True)
    data = bytearray((tmp_path / "a.ark.part").read_bytes())
    sizes = []
    read = ByteSource.read
    monkeypatch.setattr(ByteSource, "read", lambda self, size: sizes.append(size) or read(self, size))
    with TableWriter(wspecifier, resume=True) as writer:
        assert list(writer.done) == ["utt0", "utt1", "utt2"]
    assert max(sizes) < 10 and sum(sizes) < 0.6 * len(data)


# Script files to other places, and one file per key


def test_the_script_file_may_go_to_stdout_or_a_pipe(tmp_path, capfdbinary):
    with TableWriter(f"ark,scp:{tmp_path}/a b.ark,-") as writer:
        writer.write("v", VECTOR)
    assert capfdbinary.readouterr().out == f"v {tmp_path}/a b.ark:2\n".encode()
    write(
        f"ark,scp:{tmp_path}/b.ark,| xargs -n 2 sh -c 'test -s {tmp_path}/b.ark && echo $0 > {tmp_path}/keys'",
        {"v": VECTOR},
    )
    assert (tmp_path / "keys").read_text() == "v\n"
    with pytest.raises(DataError, match="output pipe failed with exit status 3"):
        write(f"ark,scp:{tmp_path}/c.ark,| exit 3", {"v": VECTOR})


@pytest.mark.parametrize("resume", [False, True])
def test_two_do_not_write_one_archive(tmp_path, resume):
    """As when a command is started twice: the second is refused, the first ends well."""
    wspecifier = f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp"
    with TableWriter(wspecifier, resume=resume, fingerprint=1) as writer:
        writer.write("v", VECTOR)
        with pytest.raises(DataError, match=r"a\.ark: another process is writing this file"):
            TableWriter(wspecifier, resume=resume, fingerprint=1)
        with pytest.raises(DataError, match="another process"):
            TableWriter(wspecifier, resume=resume, fingerprint=2)
        assert (tmp_path / "a.ark.part.json").exists() == resume
        writer.write("m", MATRIX)
    same(read(f"scp:{tmp_path}/a.scp"), {"v": VECTOR, "m": MATRIX})
    with TableWriter(wspecifier, resume=resume, fingerprint=1) as writer:  # afterwards it may
        writer.write("m", MATRIX)
    same(read(f"ark:{tmp_path}/a.ark"), {"m": MATRIX})


def test_one_file_per_key(tmp_path):
    (tmp_path / "s").write_text(f"v {tmp_path}/new/v 1\nm {tmp_path}/m\np | cat > {tmp_path}/p\n")
    for options in ("", ",t"):
        write(f"scp{options}:{tmp_path}/s", {"m": MATRIX, "v": VECTOR, "p": VECTOR})
        (tmp_path / "r").write_text((tmp_path / "s").read_text().replace("| cat > ", ""))
        same(read(f"scp:{tmp_path}/r"), {"v": VECTOR, "m": MATRIX, "p": VECTOR})
    assert sorted(os.listdir(tmp_path)) == ["m", "new", "p", "r", "s"]


def test_commands_of_a_script_file_are_refused_with_its_input_pipes(tmp_path, monkeypatch):
    monkeypatch.setenv("SVTK_NO_PIPES", "1")
    (tmp_path / "s").write_text(f"v {tmp_path}/v\nm | cat > {tmp_path}/m\n")
    with pytest.raises(DataError, match="s: output pipes are refused, as that of key 'm'; found | cat"):
        TableWriter(f"scp,p:{tmp_path}/s")
    write(f"ark:| cat > {tmp_path}/own", {"v": VECTOR})  # the user's, not the data's
    assert sorted(os.listdir(tmp_path)) == ["own", "s"]


def test_one_file_per_key_is_all_or_none(tmp_path, caplog):
    (tmp_path / "s").write_text(f"v {tmp_path}/v\nm {tmp_path}/m\n")
    with pytest.raises(DataError, match="s: the script file names no file for key 'x'"):
        write(f"scp:{tmp_path}/s", {"v": VECTOR, "x": VECTOR})
    assert os.listdir(tmp_path) == ["s"]
    write(f"scp,p:{tmp_path}/s", {"v": VECTOR, "x": VECTOR})
    assert sorted(os.listdir(tmp_path)) == ["s", "v"] and "names no file for key 'x'" in caplog.text
    (tmp_path / "s").write_text(f"v {tmp_path}/same\nm {tmp_path}/same\n")
    with pytest.raises(DataError, match="keys 'v' and 'm' would be written to the same file"):
        TableWriter(f"scp:{tmp_path}/s")
    (tmp_path / "s").write_text(f"v {tmp_path}/v:3\n")
    with pytest.raises(DataError, match="not an output file name"):
        TableWriter(f"scp:{tmp_path}/s")
    with pytest.raises(DataError, match="nowhere: cannot open"):
        TableWriter(f"scp:{tmp_path}/nowhere")
