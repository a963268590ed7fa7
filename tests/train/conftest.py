"""A distillation of seconds, under two epochs, with all that a resume must bring back."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import traceback

import pytest
import torch

from svtk.config import apply_overrides
from svtk.train.brain import SpeakerBrain
from svtk.train.distill import distill
from svtk.train.run import Run

ECAPA = {
    **{"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 16, "attention_channels": 8},
    **{"se_channels": 8, "embedding_dim": 6},
}
TRAINING = {"crop_duration": 0.5, "batch_size": 4, "max_epochs": 2, "lr": 1e-3, "augment": {"prob": 0.5}}
DISTILLATION = {
    **TRAINING,
    "frontend": {"name": "waveform_conv", "channels": 6},
    "student": {"name": "sv_mixer", "num_layers": 2, "hidden_dim": 8, "group_dim": 4, "expansion": 2, "dropout": 0.2},
    "backend": ECAPA,
    "sv_loss": {"name": "aam_softmax", "top_k": 2},
    "kd_losses": [{"name": "hidden_mse", "weight": 0.5, "normalize": "dimension"}],
}


@pytest.fixture
def distillation():
    return DISTILLATION


@pytest.fixture
def training():
    return TRAINING


@pytest.fixture
def backend_spec():
    return ECAPA


@pytest.fixture
def run_of(corpus):
    """A run on the corpus of seconds; noise=None trains without augmentation."""

    def make(model_dir, **changes):
        data = {"train_dir": corpus.train, "valid_dir": corpus.valid, "valid_trials": corpus.trials}
        return Run(model_dir=str(model_dir), **{**data, "noise": corpus.noise, "seed": 1, **changes})

    return make


@pytest.fixture
def distil(run_of, wavlm_dir):
    """Distil into a directory; keywords change the run or say where teacher states come from."""

    def go(model_dir, *overrides, **changes):
        given = {key: changes.pop(key) for key in ("teacher", "targets", "teacher_embeddings") if key in changes}
        sides = given if {"teacher", "targets"} & {*given} else {"teacher": wavlm_dir, **given}
        distill(apply_overrides(DISTILLATION, overrides), run_of(model_dir, **changes), **sides)
        return model_dir

    return go


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Where the run that all others are compared with lies; made by the first test that needs it."""
    return tmp_path_factory.mktemp("finished") / "model"


@pytest.fixture
def whole(finished, distil):
    return finished if (finished / "model.safetensors").exists() else distil(finished)


@pytest.fixture
def history():
    """The records of a run's epochs."""

    def read(model_dir):
        return json.loads((model_dir / "train.json").read_text())["history"]

    return read


@pytest.fixture
def stop_at(monkeypatch):
    """Do *how* in a step of an epoch (both counted from 1)."""
    forward = SpeakerBrain.compute_forward

    def install(epoch, step, how):
        def compute_forward(self, batch, stage):
            if (self.state.epoch + 1, self.step) == (epoch, step):
                how()
            return forward(self, batch, stage)

        monkeypatch.setattr(SpeakerBrain, "compute_forward", compute_forward)

    return install


@pytest.fixture
def kill():
    """End this process as a power cut would."""

    def end(*_, **__):
        torch.set_num_threads(1)
        os.kill(os.getpid(), signal.SIGKILL)

    return end


@pytest.fixture
def together():
    """Do *work* in several processes, as torchrun starts them and, if wanted, ends them; gives their exit statuses."""

    def run(work, size=2, end_others=True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(size):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
                    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
                    torch.set_num_threads(1)
                    work()
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            children.append(child)
        statuses, deadline = {}, time.monotonic() + 120
        while len(statuses) < size:
            for child in set(children) - set(statuses):
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    statuses[child] = status
            if (end_others and any(statuses.values())) or time.monotonic() > deadline:
                for child in set(children) - set(statuses):
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        return [statuses[child] for child in children]

    return run
