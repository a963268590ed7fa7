"""A distillation of seconds, under two epochs, with all that a resume must bring back."""

from __future__ import annotations

import pytest

from svtk.config import apply_overrides
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
        sides = {key: changes.pop(key) for key in ("teacher", "targets") if key in changes} or {"teacher": wavlm_dir}
        distill(apply_overrides(DISTILLATION, overrides), run_of(model_dir, **changes), **sides)
        return model_dir

    return go
