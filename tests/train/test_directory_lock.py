"""Two runs cannot write into one MODEL_DIR at a time, and a killed one stands in nobody's way."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from svtk.errors import ModelError


def test_the_second_run_is_refused_until_the_first_is_gone(whole, distil, tmp_path, stop_at):
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        stop_at(1, 2, lambda: ((tmp_path / "at_work").touch(), time.sleep(600)))
        try:
            distil(tmp_path / "m", checkpoint_steps=1)
        finally:
            os._exit(1)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "at_work").exists():
            assert time.monotonic() < deadline and os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.05)
        with pytest.raises(ModelError, match=rf"another process is training.*\n?.*process {child} on ") as refused:
            distil(tmp_path / "m", checkpoint_steps=1)
        assert str(tmp_path / "m") in str(refused.value) and "choose another MODEL_DIR" in str(refused.value)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    distil(tmp_path / "m", checkpoint_steps=1)
    assert (tmp_path / "m/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "m/run.lock").exists()


def test_a_run_that_failed_leaves_no_lock(distil, tmp_path, stop_at, monkeypatch):
    def fail():
        raise ModelError("no more")

    stop_at(1, 2, fail)
    with pytest.raises(ModelError, match="no more"):
        distil(tmp_path / "m")
    assert not (tmp_path / "m/run.lock").exists()
    monkeypatch.undo()
    distil(tmp_path / "m")
