"""Extended file names opened: what a command's exit status means, and the policy that no command is run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from svtk.errors import DataError
from svtk.kaldi.streams import open_rxfilename, pipes_refused, refuse_pipes


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
