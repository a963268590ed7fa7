"""A run that is asked to end by SIGTERM saves where it stands; of several processes all end when one must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from svtk.train import parallel
from svtk.train.checkpointer import WholeCheckpointer
from svtk.train.validation import Validation


def same_model(one, other):
    names = ("model.safetensors", "classifier.safetensors")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def saved(model_dir):
    newest = WholeCheckpointer(model_dir / "checkpoints").newest()
    return newest.meta["epoch"], newest.meta["step"]


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (2, 2), (2, 4)])
def test_the_step_is_finished_and_saved(whole, distil, tmp_path, stop_at, monkeypatch, caplog, epoch, step):
    before = signal.getsignal(signal.SIGTERM)
    stop_at(epoch, step, terminate)
    with pytest.raises(SystemExit) as ended:
        distil(tmp_path / "m")
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert f"ended by SIGTERM in epoch {epoch}, saved after step {step}: the same command goes on" in caplog.text
    assert saved(tmp_path / "m") == (epoch - 1, step)
    monkeypatch.undo()
    distil(tmp_path / "m")
    assert same_model(tmp_path / "m", whole)


@pytest.mark.parametrize("settings", [(), ("ema_decay=0.9",)])
def test_in_a_validation_which_may_be_long(distil, tmp_path, monkeypatch, settings):
    distil(tmp_path / "whole", *settings)
    eer, asked = Validation.eer, []

    def long(self, model):
        asked.append(terminate() if len(asked) == 1 else None)
        return eer(self, model)

    monkeypatch.setattr(Validation, "eer", long)
    with pytest.raises(SystemExit, match="143"):
        distil(tmp_path / "m", *settings)
    assert saved(tmp_path / "m") == (1, 4)
    monkeypatch.undo()
    distil(tmp_path / "m", *settings)
    assert same_model(tmp_path / "m", tmp_path / "whole")


def test_a_loading_process_that_was_asked_first(distil, tmp_path, stop_at):
    """As Slurm does, which asks all processes of a job."""

    def terminate_all():
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        terminate()

    stop_at(2, 2, terminate_all)
    with pytest.raises(SystemExit, match="143"):
        distil(tmp_path / "m", "num_workers=1", "batch_size=2")
    assert saved(tmp_path / "m")[0] == 1


def test_as_a_user_meets_it(corpus, distil, distillation, tmp_path, wavlm_dir):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**distillation, "max_epochs": 8}))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "svtk", "distill", "--config", str(tmp_path / "c.yaml"), "--noise", corpus.noise),
            *("--train", corpus.train, "--valid", corpus.valid, "--valid-trials", corpus.trials, "--seed", "1"),
            *("--teacher", wavlm_dir, "--num-threads", "1", str(tmp_path / "m")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "m").glob("checkpoints/CKPT+*/CKPT.yaml")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 143, stderr
    assert "WARNING ended by SIGTERM in epoch " in stderr.splitlines()[-1] and "Error" not in stderr
    torch.set_num_threads(1)
    for name in ("m", "whole"):
        distil(tmp_path / name, "max_epochs=8")
    assert same_model(tmp_path / "m", tmp_path / "whole")


# Of several processes


def exits(work):
    """*work*, so that the process ends with its status as the command does."""

    def run():
        try:
            work()
        except SystemExit as end:
            os._exit(end.code)

    return run


def test_one_of_two_processes_is_asked(distil, together, tmp_path, stop_at):
    stop_at(2, 2, lambda: terminate() if parallel.rank() == 1 else None)
    statuses = together(exits(lambda: distil(tmp_path / "m", checkpoint_interval=0)), end_others=False)
    assert [os.waitstatus_to_exitcode(status) for status in statuses] == [143, 143]
    assert saved(tmp_path / "m") == (1, 2)
    stop_at(9, 9, terminate)
    assert together(lambda: distil(tmp_path / "m")) == [0, 0]
    assert together(lambda: distil(tmp_path / "whole")) == [0, 0]
    assert same_model(tmp_path / "m", tmp_path / "whole")


@pytest.mark.parametrize("failing", [0, 1])
def test_one_of_two_processes_fails(distil, together, tmp_path, stop_at, capfd, failing):
    from svtk.errors import AudioError

    def fail():
        if parallel.rank() == failing:
            raise AudioError("cannot read audio", path="bad.wav")

    stop_at(1, 2, fail)
    begin = time.monotonic()
    statuses = together(exits(lambda: distil(tmp_path / "m")), end_others=False)
    assert all(statuses) and time.monotonic() - begin < 60
    err = capfd.readouterr().err
    assert f"AudioError: process {failing} of 2: bad.wav: cannot read audio" in err
    assert err.count("Error: ") == 1, err


def test_one_of_two_processes_is_killed(distil, together, tmp_path, stop_at, capfd):
    stop_at(1, 2, lambda: os.kill(os.getpid(), signal.SIGKILL) if parallel.rank() == 1 else None)
    statuses = together(exits(lambda: distil(tmp_path / "m")), end_others=False)
    assert [os.waitstatus_to_exitcode(status) for status in statuses] == [1, -signal.SIGKILL]
    assert "SvtkError: process 0 of 2: another process is gone; found" in capfd.readouterr().err


def test_a_wrong_setting_is_said_once(distil, together, tmp_path, capfd):
    assert all(together(exits(lambda: distil(tmp_path / "m", "lr=-1")), end_others=False))
    err = capfd.readouterr().err
    assert err.count("lr must be positive") >= 1 and err.count("ConfigError: process") == 1, err


def test_alone_any_is_its_own():
    assert parallel.any_of(True) is True and parallel.any_of(False) is False
    assert torch.distributed.is_initialized() is False
