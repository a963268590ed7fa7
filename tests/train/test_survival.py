"""Runs that are killed at any moment, or run out of disk, memory or data: what is left is whole, and goes on."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch

from svtk.data.cuts import load_cuts
from svtk.errors import DataError, ModelError
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.train.brain import SpeakerBrain
from svtk.train.checkpointer import WholeCheckpointer


@pytest.fixture
def killed_after():
    """Do *work* in a process that is killed after so many seconds; whether it was."""

    def run(work, seconds):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                torch.set_num_threads(1)
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)

    return run


def same_model(one: Path, other: Path) -> bool:
    names = ("model.safetensors", "classifier.safetensors")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_killed_at_random_moments(whole, distil, tmp_path, killed_after, history):
    """A checkpoint after every step, so that many a kill falls into the writing of one; then bit by bit the same."""
    moments, kills = random.Random(11), 0
    while kills < 12 and killed_after(
        lambda: distil(tmp_path / "m", checkpoint_steps=1), moments.uniform(0.1, 0.3 + 0.05 * kills)
    ):
        kills += 1
    assert kills >= 2
    distil(tmp_path / "m", checkpoint_steps=1)
    assert same_model(tmp_path / "m", whole)
    for mine, theirs in zip(history(tmp_path / "m"), history(whole), strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    lines = (tmp_path / "m/train.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]


@pytest.mark.parametrize("moment", range(1, 15, 2))
def test_killed_while_a_checkpoint_is_written(whole, distil, tmp_path, monkeypatch, killed, kill, moment):
    """At any call of the system that writes, moves or removes part of it."""

    def work():
        torch.set_num_threads(1)
        count = 0

        def counted(call):
            def run(*args, **kwargs):
                nonlocal count
                count += "CKPT" in f"{args} {getattr(args[-1], 'name', '')}" or call is fsync
                if count == 20 + moment:
                    kill()
                return call(*args, **kwargs)

            return run

        fsync = os.fsync
        for module, name in ((torch, "save"), (os, "replace"), (shutil, "rmtree"), (os, "fsync")):
            monkeypatch.setattr(module, name, counted(getattr(module, name)))
        distil(tmp_path / "m", checkpoint_steps=1, keep_checkpoints=1)

    killed(work)
    assert not (tmp_path / "m/model.safetensors").exists()
    distil(tmp_path / "m")
    assert same_model(tmp_path / "m", whole)


def test_what_is_kept(tmp_path):
    module = torch.nn.Linear(1, 1)
    saver = WholeCheckpointer(tmp_path, {"a": module})
    for epoch, steps in ((1, 0), (1, 5), (1, 9), (2, 0), (3, 0), (4, 0), (4, 5), (4, 9)):
        saver.save_checkpoint(meta={"epoch": epoch, "step": steps}, end_of_epoch=not steps)
        saver.prune(keep=2, best_epoch=1)
    kept = sorted((found.meta["epoch"], found.meta["step"]) for found in saver.list_checkpoints())
    assert kept == [(1, 0), (3, 0), (4, 0), (4, 9)]
    newest = saver.newest()
    os.utime(newest.path / "CKPT.yaml", (0, 0))
    assert newest.meta["step"] == 9 and saver.of_epoch(3).meta["step"] == 0 and saver.of_epoch(7) is None


# What runs out


@contextlib.contextmanager
def files_of_at_most(size: int):
    """The kernel then refuses what is beyond, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_a_checkpoint(whole, distil, tmp_path, stop_at, monkeypatch):
    limit = contextlib.ExitStack()
    stop_at(2, 3, lambda: limit.enter_context(files_of_at_most(10_000)))
    message = r"^\S+/m/checkpoints/CKPT\+[^/]+/\w+\.ckpt: cannot write the checkpoint: File too large; found \d+ MiB"
    with limit, pytest.raises(ModelError, match=message):
        distil(tmp_path / "m", checkpoint_steps=1)
    left = [WholeCheckpointer._is_checkpoint_dir(path) for path in (tmp_path / "m/checkpoints").iterdir()]
    assert left == [True, True]  # of epoch 1, and of step 2 in the next
    monkeypatch.undo()
    distil(tmp_path / "m")
    assert same_model(tmp_path / "m", whole)


def test_no_room_for_the_model(whole, distil, tmp_path, monkeypatch):
    finish, limit = SpeakerBrain.finish, contextlib.ExitStack()
    monkeypatch.setattr(
        SpeakerBrain, "finish", lambda self: (finish(self), limit.enter_context(files_of_at_most(2000)))
    )
    with limit, pytest.raises(ModelError, match=r"/m: cannot write the model: .*File too large.*To mend: make room"):
        distil(tmp_path / "m")
    assert not (tmp_path / "m/model.safetensors").exists()
    monkeypatch.undo()
    distil(tmp_path / "m")
    assert same_model(tmp_path / "m", whole)


def test_a_data_loading_process_that_is_killed(whole, distil, tmp_path, stop_at):
    """As by the kernel, out of memory: what was learned is saved, and a rerun goes on from there."""

    def kill_workers():
        for child in torch.multiprocessing.active_children() or _children():
            os.kill(getattr(child, "pid", child), signal.SIGKILL)

    stop_at(2, 2, kill_workers)
    message = r"a data loading process died, perhaps .*; found DataLoader worker \(pid.*To mend: give the job more mem"
    with pytest.raises(DataError, match=message):
        distil(tmp_path / "m", "num_workers=1", "batch_size=2")
    assert not (tmp_path / "m/model.safetensors").exists()
    steps = [found.meta["step"] for found in WholeCheckpointer(tmp_path / "m/checkpoints").list_checkpoints()]
    assert 0 in steps and max(steps) >= 2


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_audio_that_cannot_be_read_in_the_midst_of_an_epoch(distil, tmp_path, corpus):
    """What was learned before it is saved; mended, the run goes on."""
    wavs = tmp_path / "wav"
    wavs.mkdir()
    utterances = read_data_dir(corpus.train).utterances
    for i, utterance in enumerate(utterances):
        shutil.copy(utterance.wav, wavs)
        utterances[i] = type(utterance)(**{**vars(utterance), "wav": str(wavs / Path(utterance.wav).name)})
    data = str(write_data_dir(tmp_path / "data", utterances).path)
    load_cuts(data)
    distil(tmp_path / "whole", train_dir=data)
    bad = wavs / Path(utterances[5].wav).name
    bad.rename(tmp_path / "aside")
    bad.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="cannot read audio"):
        distil(tmp_path / "m", train_dir=data)
    (tmp_path / "aside").rename(bad)
    distil(tmp_path / "m", train_dir=data)
    assert same_model(tmp_path / "m", tmp_path / "whole")


# What does not fit


def test_a_teacher_of_other_frames(distil, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "svtk.teachers._wav2vec2_family.Wav2Vec2Teacher.forward", lambda self, wav: [torch.zeros(len(wav), 12, 12)] * 3
    )
    with pytest.raises(ModelError, match=r"student and teacher disagree on frames; found 24 and \[12\]; expected the"):
        distil(tmp_path / "m")


def test_an_empty_validation_list(distil, tmp_path):
    (tmp_path / "trials").write_text("")
    with pytest.raises(DataError, match=r"/trials: \S+.*(empty|no trials)"):
        distil(tmp_path / "m", valid_trials=str(tmp_path / "trials"))


def test_a_speaker_with_one_utterance(distil, tmp_path, corpus, caplog):
    utterances = read_data_dir(corpus.train).utterances
    data = str(write_data_dir(tmp_path / "data", utterances[:-3]).path)
    distil(tmp_path / "m", "max_epochs=1", train_dir=data)
    assert "1 speaker(s) have one utterance, first s3: their class learns that recording" in caplog.text


def test_a_speaker_who_came_after_the_run_began_is_refused(distil, tmp_path, corpus, stop_at):
    """There is no class for the label."""

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    utterances = read_data_dir(corpus.train).utterances
    write_data_dir(tmp_path / "data", utterances[:12])
    stop_at(2, 1, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m", train_dir=str(tmp_path / "data"))
    shutil.rmtree(tmp_path / "data")
    write_data_dir(tmp_path / "data", utterances)
    with pytest.raises(ModelError, match=r"other settings; found a difference in inputs\.train\. To mend"):
        distil(tmp_path / "m", train_dir=str(tmp_path / "data"))
