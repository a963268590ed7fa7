"""Another backend on the frozen encoder of a trained model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from svtk.config import from_mapping, to_mapping
from svtk.models.speaker_model import SpeakerModel, load_model
from svtk.registry import configure
from svtk.train.brain import SpeakerBrain, Validation
from svtk.train.options import TrainOptions
from svtk.train.run import already_trained, crop_dataset, train

__all__ = ["BackendConfig", "train_backend"]


@dataclasses.dataclass(frozen=True)
class BackendConfig(TrainOptions):
    """Configuration of ``svtk train-backend``; ``crop_duration`` is the student's window, whatever is set here."""

    backend: dict = dataclasses.field(default_factory=lambda: {"name": "ecapa_tdnn"})
    sv_loss: dict = dataclasses.field(default_factory=lambda: {"name": "aam_softmax"})


def train_backend(
    mapping: dict[str, Any],
    *,
    student: str,
    train_dir: str,
    valid_dir: str,
    valid_trials: str,
    model_dir: str | os.PathLike,
    noise: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    path: Any = None,
) -> None:
    """Train a backend on the frozen encoder of *student* (a MODEL_DIR) and save both as a new MODEL_DIR.

    The other arguments are those of :func:`svtk.train.distill.distill`.
    """
    trained = load_model(student)
    config = from_mapping(BackendConfig, {**mapping, "crop_duration": trained.config.window}, path=path)
    backend = configure("backends", config.backend, "backend", path)
    directory = Path(model_dir)
    inputs = {"train": train_dir, "valid": valid_dir, "valid_trials": valid_trials, "student": student, "noise": noise}
    resolved = {**to_mapping(config), "backend": backend.spec()}
    if already_trained(directory, {"verb": "train-backend", "seed": seed, "inputs": inputs, "config": resolved}):
        return
    torch.manual_seed(seed)
    encoder = trained.encoder
    model = SpeakerModel(
        dataclasses.replace(trained.config, backend=backend.spec()),
        encoder,
        backend.build(num_hidden=encoder.num_hidden, hidden_dim=encoder.hidden_dim),
    )
    model.freeze_encoder()
    dataset = crop_dataset(train_dir, config, seed, noise)
    sv_loss = configure("losses", config.sv_loss, "sv_loss", path)
    brain = SpeakerBrain(
        model=model,
        sv_loss=sv_loss.build(embedding_dim=model.embedding_dim, num_spks=len(dataset.speakers)),
        kd_losses=[],
        teacher=None,
        dataset=dataset,
        validation=Validation(valid_dir, valid_trials),
        options=config,
        seed=seed,
        device=device,
        directory=directory,
    )
    train(brain, directory)
