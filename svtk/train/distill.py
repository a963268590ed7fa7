"""OS-KDFT (Heo et al., Interspeech 2023): student and backend learn together from teacher and speakers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import torch

from svtk.config import from_mapping, to_mapping
from svtk.data.targets import Targets
from svtk.errors import ConfigError
from svtk.models.speaker_model import StudentSpec, build_model
from svtk.models.teacher import load_teacher
from svtk.registry import Component, configure
from svtk.train.brain import SpeakerBrain, Validation
from svtk.train.options import TrainOptions
from svtk.train.run import already_trained, crop_dataset, train

__all__ = ["DistillConfig", "distill", "kd_components"]


@dataclasses.dataclass(frozen=True)
class DistillConfig(TrainOptions, StudentSpec):
    """Configuration of ``svtk distill``; the defaults are the paper's.

    Attributes:
        sv_loss: component, ``{name: ..., option: ...}``, as frontend, student and backend are.
        kd_losses: list of components with a ``weight`` each; an empty list trains without a teacher.
        sv_weight: weight of the SV loss.
        teacher_context: what a teacher in the loop hears: the ``crop``, as in the paper, or the whole
            ``utterance``, whose states are then cut along the crop, as cached teacher targets are.
    """

    sv_loss: dict = dataclasses.field(default_factory=lambda: {"name": "aam_softmax"})
    kd_losses: tuple[dict, ...] = ({"name": "hidden_mse", "weight": 1.0},)
    sv_weight: float = 1.0
    teacher_context: Literal["crop", "utterance"] = "crop"


def kd_components(config: DistillConfig, path: Any = None) -> list[tuple[float, Component]]:
    """The KD losses as ``(weight, component)``."""
    result = []
    for index, spec in enumerate(config.kd_losses):
        weight = spec.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise ConfigError(
                f"wrong value for 'kd_losses.{index}.weight'", path=path, found=repr(weight), expected="a number"
            )
        options = {key: value for key, value in spec.items() if key != "weight"}
        result.append((float(weight), configure("losses", options, f"kd_losses.{index}", path)))
    return result


def distill(
    mapping: dict[str, Any],
    *,
    train_dir: str,
    valid_dir: str,
    valid_trials: str,
    model_dir: str | os.PathLike,
    teacher: str | None = None,
    targets: str | None = None,
    noise: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    path: Any = None,
) -> None:
    """Distill a student and save it as MODEL_DIR.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        train_dir, valid_dir: data directories.
        valid_trials: labelled trials over *valid_dir*.
        model_dir: output; a rerun resumes or finds it done.
        teacher: hub name or directory, for targets on the fly.
        targets: directory of cached teacher targets, instead.
        noise: output of prepare-noise, for augmentation.
        seed: of initialisation, crops, augmentation and dropout.
        device: torch device.
        path: configuration file, for messages.

    Raises:
        ConfigError, DataError, ModelError: see there.
    """
    config = from_mapping(DistillConfig, mapping, path=path)
    model_config = config.model_config(path)
    kd = kd_components(config, path)
    if kd and (teacher is None) == (targets is None):
        raise ConfigError(
            "distillation needs one of --teacher and --targets", path=path, mend="give one, or set kd_losses=[]"
        )
    directory = Path(model_dir)
    inputs = {
        "train": train_dir,
        "valid": valid_dir,
        "valid_trials": valid_trials,
        "teacher": teacher,
        "targets": targets,
        "noise": noise,
    }
    resolved = {
        **to_mapping(config),
        **{name: getattr(model_config, name) for name in ("frontend", "student", "backend")},
    }
    if already_trained(directory, {"verb": "distill", "seed": seed, "inputs": inputs, "config": resolved}):
        return
    torch.manual_seed(seed)
    model = build_model(model_config, path=path)
    teacher_model = cached = None
    losses = []
    if kd:
        if teacher is not None:
            teacher_model = load_teacher(teacher)
            dim, count = teacher_model.hidden_dim, teacher_model.num_hidden
        else:
            info = Targets(targets, []).info
            dim, count = info.hidden_dim, info.num_hidden
        wiring = {"student_dim": model.encoder.hidden_dim, "teacher_dim": dim, "num_teacher_hidden": count}
        losses = [(component.name, weight, component.build(**wiring)) for weight, component in kd]
        if targets is not None:
            cached = Targets(targets, sorted({layer for *_, loss in losses for layer in loss.teacher_layers}))
            if abs(cached.info.min_duration - config.crop_duration) > 1e-6:
                raise ConfigError(
                    "teacher targets were made for other crops",
                    path=targets,
                    found=f"min_duration {cached.info.min_duration}",
                    expected=f"crop_duration {config.crop_duration}",
                    mend=f"run svtk extract-targets with --min-duration {config.crop_duration}",
                )
    dataset = crop_dataset(
        train_dir,
        config,
        seed,
        noise,
        targets=cached,
        crop_frames=model.window_frames,
        whole=teacher_model is not None and config.teacher_context == "utterance",
    )
    sv_loss = configure("losses", config.sv_loss, "sv_loss", path)
    brain = SpeakerBrain(
        model=model,
        sv_loss=sv_loss.build(embedding_dim=model.embedding_dim, num_spks=len(dataset.speakers)),
        kd_losses=losses,
        teacher=teacher_model,
        dataset=dataset,
        validation=Validation(valid_dir, valid_trials),
        options=config,
        seed=seed,
        device=device,
        directory=directory,
        sv_weight=config.sv_weight,
    )
    train(brain, directory)
