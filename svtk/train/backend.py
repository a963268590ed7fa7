"""Another backend on the frozen encoder of a trained model."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from svtk.config import from_mapping
from svtk.models.speaker_model import SpeakerModel, load_model
from svtk.train import parallel
from svtk.train.options import FrozenEncoderOptions, resolve
from svtk.train.run import Run

__all__ = ["BackendConfig", "train_backend"]


@dataclasses.dataclass(frozen=True)
class BackendConfig(FrozenEncoderOptions):
    """Configuration of ``svtk train-backend``; ``crop_duration`` is the student's window, whatever is set here."""


@parallel.in_all_processes
def train_backend(mapping: dict[str, Any], run: Run, *, student: str, path: Any = None) -> None:
    """Train a backend on the frozen encoder of *student* (a MODEL_DIR) and save both as a new MODEL_DIR.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        run: data, MODEL_DIR, seed and device.
        student: MODEL_DIR of a student, or of a teacher.
        path: configuration file, for messages.

    Raises:
        ConfigError, DataError, ModelError: as :func:`svtk.train.distill.distill`.
    """
    trained = load_model(student)
    config = from_mapping(BackendConfig, {**mapping, "crop_duration": trained.config.window}, path=path)
    components, resolved = resolve(config, path)
    if run.finished("train-backend", resolved, student=student):
        return
    torch.manual_seed(run.seed)
    encoder = trained.encoder
    head = components["backend"].build(num_hidden=encoder.num_hidden, hidden_dim=encoder.hidden_dim)
    model = SpeakerModel(dataclasses.replace(trained.config, backend=resolved["backend"]), encoder, head)
    model.freeze_encoder()
    run.train(model, run.frozen_encoder_crops(model, config), components["sv_loss"], config)
