"""Models of verbs that take a MODEL_DIR or a configuration. To be imported where it is needed: it imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from svtk.config import from_mapping, load_config
from svtk.errors import ConfigError
from svtk.models.speaker_model import ModelConfig, SpeakerModel, build_model, load_model
from svtk.registry import configure

__all__ = ["open_model"]

_DESCRIBED = "a MODEL_DIR, or a configuration of distill, of train-teacher or of train-backend"


def open_model(source: str, student: str | None = None, overrides: Sequence[str] = ()) -> SpeakerModel:
    """The model of a MODEL_DIR, or one with fresh weights of a configuration.

    Args:
        source: MODEL_DIR, or a YAML file of distill, of train-teacher with a ``new_model``, or of train-backend.
        student: MODEL_DIR or YAML file of the model whose encoder a configuration of train-backend stands on, or a
            pretrained encoder (a directory, or a YAML file that names its source) for one of train-teacher.
        overrides: ``--set`` above the YAML file.

    Raises:
        ConfigError: a key that the configuration's verb does not know, a wrong value, or no encoder.
        ModelError: a directory that is no MODEL_DIR.
    """
    if Path(source).is_dir():
        return load_model(source)
    mapping = load_config(source, overrides)
    if "student" in mapping:
        from svtk.train.distill import DistillConfig

        return build_model(from_mapping(DistillConfig, mapping, path=source).model_config(source), path=source)
    if "backend" not in mapping:
        raise ConfigError("no student here", path=source, expected=_DESCRIBED)
    if "new_model" not in mapping and student is None:
        raise ConfigError("a backend without an encoder", path=source, mend="name a student or encoder by --student")
    from svtk.models.teacher import teacher_spec
    from svtk.teachers import wavlm
    from svtk.train.teacher import TeacherConfig

    config = from_mapping(TeacherConfig, mapping, path=source)
    backend = configure("backends", config.backend, "backend", source)
    if student is not None and _is_encoder(Path(student)):
        spec = teacher_spec(student)
        return build_model(ModelConfig("teacher", config.crop_duration, backend.spec(), teacher=spec), path=source)
    if student is not None:
        below = open_model(student)
        model_config, encoder = dataclasses.replace(below.config, backend=backend.spec()), below.encoder
    else:
        teacher = {"name": "wavlm", "source": "encoder"}
        model_config = ModelConfig("teacher", config.crop_duration, backend.spec(), teacher=teacher)
        encoder = wavlm.create(config.new_model)
    head = backend.build(num_hidden=encoder.num_hidden, hidden_dim=encoder.hidden_dim)
    return SpeakerModel(model_config, encoder, head)


def _is_encoder(path: Path) -> bool:
    """Whether *path* is a pretrained encoder, not a model with a backend."""
    if path.is_dir():
        return (path / "config.json").exists() and not (path / "config.yaml").exists()
    return "source" in load_config(path)
