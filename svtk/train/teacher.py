"""Teachers of one's own: a small WavLM trained on speakers, or a backend on a pretrained encoder."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from svtk.config import from_mapping, to_mapping
from svtk.models.speaker_model import ModelConfig, SpeakerModel, build_model, save_model
from svtk.models.teacher import teacher_spec
from svtk.registry import configure
from svtk.teachers import wavlm
from svtk.train.brain import SpeakerBrain, Validation
from svtk.train.options import TrainOptions
from svtk.train.run import already_trained, crop_dataset, train

__all__ = ["TeacherConfig", "train_teacher"]


@dataclasses.dataclass(frozen=True)
class TeacherConfig(TrainOptions):
    """Configuration of ``svtk train-teacher``.

    Attributes:
        new_model: sizes of the WavLM that is trained from scratch (without ``--encoder``).
        backend, sv_loss: components.
    """

    new_model: wavlm.NewModel = dataclasses.field(default_factory=wavlm.NewModel)
    backend: dict = dataclasses.field(default_factory=lambda: {"name": "ecapa_tdnn"})
    sv_loss: dict = dataclasses.field(default_factory=lambda: {"name": "aam_softmax"})


def train_teacher(
    mapping: dict[str, Any],
    *,
    train_dir: str,
    valid_dir: str,
    valid_trials: str,
    model_dir: str | os.PathLike,
    encoder: str | None = None,
    noise: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    path: Any = None,
) -> None:
    """Train a teacher and save it as MODEL_DIR; a new encoder goes to ``encoder/`` as Hugging Face saves one.

    Args:
        encoder: hub name or directory of a pretrained encoder, which stays frozen; None trains a small WavLM
            from scratch with its backend.

    The other arguments are those of :func:`svtk.train.distill.distill`.
    """
    config = from_mapping(TeacherConfig, mapping, path=path)
    backend = configure("backends", config.backend, "backend", path)
    directory = Path(model_dir)
    inputs = {"train": train_dir, "valid": valid_dir, "valid_trials": valid_trials, "encoder": encoder, "noise": noise}
    resolved = {**to_mapping(config), "backend": backend.spec()}
    if already_trained(directory, {"verb": "train-teacher", "seed": seed, "inputs": inputs, "config": resolved}):
        return
    torch.manual_seed(seed)
    if encoder is not None:
        spec = {**teacher_spec(encoder), "source": _absolute(teacher_spec(encoder)["source"])}
        model = build_model(ModelConfig("teacher", config.crop_duration, backend.spec(), teacher=spec), path=path)
        save = save_model
    else:
        model_config = ModelConfig(
            "teacher", config.crop_duration, backend.spec(), teacher={"name": "wavlm", "source": "encoder"}
        )
        new = wavlm.create(config.new_model)
        model = SpeakerModel(model_config, new, backend.build(num_hidden=new.num_hidden, hidden_dim=new.hidden_dim))
        save = _save_with_encoder
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
    train(brain, directory, save)


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def _save_with_encoder(model: SpeakerModel, directory: Path) -> None:
    model.encoder.save_pretrained(str(directory / "encoder"))
    save_model(model, directory)
