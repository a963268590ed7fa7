"""Extended file names opened: what a command's exit status means, and the policy that no command is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from svtk.errors import DataError
from svtk.kaldi.streams import open_output, open_rxfilename, open_wxfilename, pipes_refused, refuse_pipes


@pytest.fixture
def no_pipes(monkeypatch):
    monkeypatch.setenv("SVTK_NO_PIPES", "")  # what the test sets is taken back
    refuse_pipes()


def test_refused_pipes_do_not_run(tmp_path, no_pipes):
    assert pipes_refused()
    refused = pytest.raises(DataError, match=r"input pipes are refused; found 'touch .*ran'\. To mend: ")
    with refused, open_rxfilename(f"touch {tmp_path}/ran |"):
        pass
    assert not (tmp_path / "ran").exists()
    (tmp_path / "file").write_bytes(b"1")
    with open_rxfilename(tmp_path / "file") as file:
        assert file.read() == b"1"


def test_processes_started_later_refuse_pipes_too(no_pipes):
    program = "from svtk.kaldi.streams import pipes_refused; print(pipes_refused())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "True\n"


def test_pipes_are_allowed_unless_refused(monkeypatch):
    monkeypatch.delenv("SVTK_NO_PIPES", raising=False)
    assert not pipes_refused()


def test_rxfilenames_with_offsets(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with open_rxfilename(f"{tmp_path}/f:4") as file:
        assert file.read() == b"456789"
    with open_rxfilename(tmp_path / "f") as file:
        assert file.read(2) == b"01"
    with pytest.raises(DataError, match="nowhere: cannot open: No such file"), open_rxfilename(f"{tmp_path}/nowhere"):
        pass


# Input


def test_a_pipe_names_its_owner(tmp_path, monkeypatch):
    with (
        pytest.raises(DataError, match="input pipe of utterance 'u1' failed with exit status 3; found 'exit 3'"),
        open_rxfilename("exit 3 |", of="utterance 'u1'"),
    ):
        pass
    with (
        pytest.raises(DataError, match="nowhere: cannot open the file of utterance 'u1': No such file"),
        open_rxfilename(f"{tmp_path}/nowhere", of="utterance 'u1'"),
    ):
        pass
    monkeypatch.setenv("SVTK_NO_PIPES", "1")
    with (
        pytest.raises(DataError, match="input pipes are refused, as that of utterance 'u1'; found 'exit 3'"),
        open_rxfilename("exit 3 |", of="utterance 'u1'"),
    ):
        pass


def test_a_killed_command_is_an_error():
    with pytest.raises(DataError, match="input pipe was killed by signal 9"), open_rxfilename("kill -9 $$ |") as file:
        file.read()


def test_a_command_that_has_a_little_more_to_say_may_end_and_must_end_well():
    with open_rxfilename("seq 1000; exit 0 |") as file:
        assert file.readline() == b"1\n"
    with pytest.raises(DataError, match="exit status 2"), open_rxfilename("seq 1000; exit 2 |") as file:
        assert file.readline() == b"1\n"


@pytest.mark.parametrize("command", ["yes", "yes; exit 3", "exec yes"])
def test_a_command_that_never_ends_is_stopped_without_complaint(command):
    with open_rxfilename(f"{command} |") as file:
        assert file.readline() == b"y\n"


def test_an_exception_of_the_reader_is_not_replaced():
    with pytest.raises(KeyError), open_rxfilename("yes |"):
        raise KeyError
    with pytest.raises(DataError, match="mine"), open_rxfilename("cat /dev/null |"):
        raise DataError("mine")


def test_a_closed_stdin_and_stdout(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(DataError, match="stdin is closed"), open_rxfilename("-"):
        pass
    with pytest.raises(DataError, match="stdout is closed"):
        open_output("-")


def test_a_path_object_is_a_path_whatever_it_looks_like(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:1", "-", "echo |"):
        Path(name).write_bytes(b"x")
        with open_rxfilename(Path(name)) as file:
            assert file.read() == b"x"


# Output


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "f"
    with open_wxfilename(str(path)) as output:
        output.write(b"12")
        assert not path.exists()
    assert path.read_bytes() == b"12"
    with pytest.raises(KeyError), open_wxfilename(str(path)) as output:
        output.write(b"3")
        raise KeyError
    assert path.read_bytes() == b"12" and os.listdir(path.parent) == ["f"]


def test_a_command_gets_all_or_is_killed(tmp_path):
    with open_wxfilename(f"| cat > '{tmp_path}/a b'") as output:
        output.write(b"12")
    assert (tmp_path / "a b").read_bytes() == b"12"
    with pytest.raises(DataError, match="output pipe failed with exit status 4"), open_wxfilename("| exit 4"):
        pass
    with pytest.raises(KeyError), open_wxfilename(f"| cat && touch {tmp_path}/done"):
        raise KeyError
    assert not (tmp_path / "done").exists()


def test_a_command_that_stops_reading():
    stopped = pytest.raises(DataError, match="output pipe ended before all was written; found 'true'")
    with stopped, open_wxfilename("| true") as output:
        for _ in range(100):
            output.write(bytes(100_000))


def test_a_full_disk(tmp_path):
    with (
        pytest.raises(DataError, match="/dev/full: cannot write: No space left"),
        open_wxfilename("/dev/full") as output,
    ):
        output.write(b"1")


@pytest.mark.parametrize("through", ["", "| cat"])
def test_a_reader_of_our_stdout_that_leaves_ends_the_program_quietly(through):
    program = textwrap.dedent(f"""
        import sys, itertools
        import numpy as np
        from svtk.cli import main
        from svtk.kaldi.table_writer import TableWriter

        def verb(**_):
            with TableWriter("ark,t:{through or "-"}") as writer:
                for i in itertools.count():
                    writer.write(str(i), np.zeros(100))

        main.svtk.main = verb
        main.main()
    """)
    command = f"{{ {shlex.quote(sys.executable)} -c {shlex.quote(program)}; echo $? >&2; }} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("0  [ 0.0 0.0")
    if through:
        assert re.fullmatch(
            r"Error: output pipe (was killed by signal 13|failed with .*); found 'cat'.*\n1\n", done.stderr
        )
    else:
        assert done.stderr == "1\n"
