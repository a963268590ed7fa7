"""Teachers of one's own: a small WavLM trained on speakers, or a backend on a pretrained encoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from svtk.config import from_mapping
from svtk.models.speaker_model import ModelConfig, SpeakerModel, build_model, save_model
from svtk.models.teacher import load_teacher, teacher_spec
from svtk.teachers import wavlm
from svtk.train import parallel
from svtk.train.options import FrozenEncoderOptions, resolve
from svtk.train.run import Run

__all__ = ["TeacherConfig", "save_with_encoder", "train_teacher"]


@dataclasses.dataclass(frozen=True)
class TeacherConfig(FrozenEncoderOptions):
    """Configuration of ``svtk train-teacher``.

    Attributes:
        new_model: sizes of the WavLM that is trained from scratch (without ``--encoder``).
        train_encoder: the pretrained encoder learns, too, and is saved in ``encoder/``.
    """

    new_model: wavlm.NewModel = dataclasses.field(default_factory=wavlm.NewModel)
    train_encoder: bool = False


@parallel.in_all_processes
def train_teacher(mapping: dict[str, Any], run: Run, *, encoder: str | None = None, path: Any = None) -> None:
    """Train a teacher and save it as MODEL_DIR; a new encoder goes to ``encoder/`` as Hugging Face saves one.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        run: data, MODEL_DIR, seed and device.
        encoder: hub name or directory of a pretrained encoder, which stays frozen but with ``train_encoder``; None
            trains a small WavLM from scratch with its backend.
        path: configuration file, for messages.

    Raises:
        ConfigError, DataError, ModelError: as :func:`svtk.train.distill.distill`.
    """
    config = from_mapping(TeacherConfig, mapping, path=path)
    components, resolved = resolve(config, path)
    backend, sv_loss = components["backend"], components["sv_loss"]
    if run.finished("train-teacher", resolved, encoder=encoder):
        return
    torch.manual_seed(run.seed)
    if encoder is not None and not config.train_encoder:
        spec = teacher_spec(encoder)
        spec["source"] = _absolute(spec["source"])
        model = build_model(ModelConfig("teacher", config.crop_duration, backend.spec(), teacher=spec), path=path)
        run.train(model, run.frozen_encoder_crops(model, config), sv_loss, config)
    else:
        if encoder is not None:
            spec, new = {**teacher_spec(encoder), "source": "encoder"}, load_teacher(encoder, frozen=False)
        else:
            spec, new = {"name": "wavlm", "source": "encoder"}, wavlm.create(config.new_model)
        head = backend.build(num_hidden=new.num_hidden, hidden_dim=new.hidden_dim)
        model = SpeakerModel(ModelConfig("teacher", config.crop_duration, backend.spec(), teacher=spec), new, head)
        run.train(model, run.crops(config), sv_loss, config, save=save_with_encoder)


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def save_with_encoder(model: SpeakerModel, directory: Path) -> None:
    """Save a teacher whose encoder has learned, and lies in ``encoder/``, where its ``config.yaml`` says it does."""
    model.encoder.save_pretrained(str(directory / "encoder"))
    save_model(model, directory)
