"""Find out what a teacher is, from a hub name, a Hugging Face directory, an svtk MODEL_DIR or a YAML file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from svtk.config import find_config, from_mapping, load_config, load_yaml
from svtk.errors import ModelError
from svtk.fingerprint import sha256_of_named
from svtk.models.speaker_model import ModelConfig, located
from svtk.registry import configure, names

__all__ = ["digest_weights", "load_teacher", "teacher_spec"]


def teacher_spec(source: str | os.PathLike) -> dict[str, Any]:
    """``{name: wavlm, source: ...}`` of a teacher.

    Args:
        source: a hub name such as ``microsoft/wavlm-large``, a directory that Hugging Face saved
            (config.json), an svtk teacher's MODEL_DIR (config.yaml), or a YAML file of a teacher's name, source
            (a directory may be relative to the file) and options; also the name of one of svtk's own.

    Raises:
        ConfigError: the YAML file, or the config.yaml of a MODEL_DIR, is wrong.
        ModelError: it is none of these, or an architecture that svtk has no teacher for.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        path = find_config(path)
        mapping = load_config(path)
        configure("teachers", mapping, "teacher", path)
        return located(mapping, path.parent)
    if (path / "config.yaml").exists():
        file = path / "config.yaml"
        config = from_mapping(ModelConfig, load_yaml(file), path=file)
        if config.kind != "teacher":
            raise ModelError("not a teacher", path=path, found=f"a {config.kind}", mend="give a teacher's MODEL_DIR")
        return located(config.teacher, path)
    if path.is_dir():
        try:
            model_type = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: JSON, but not a mapping
            raise ModelError(
                "no readable config.json", path=path, expected="a Hugging Face model or an svtk teacher"
            ) from error
    else:
        from transformers import AutoConfig

        try:
            model_type = AutoConfig.from_pretrained(str(source)).model_type
        except (OSError, ValueError) as error:
            raise ModelError(
                f"no such directory, and not to be had from the hub: {str(error).splitlines()[0]}",
                path=source,
                mend="give an existing directory or check the hub name and the network",
            ) from error
    known = names("teachers")
    name = str(model_type).replace("-", "_")
    if name not in known:
        raise ModelError(
            "no teacher of this architecture", path=source, found=repr(model_type), expected=", ".join(known)
        )
    return {"name": name, "source": str(source)}


def load_teacher(source: str | os.PathLike, *, frozen: bool = True) -> Any:
    """Load a :class:`svtk.teachers._base.Teacher` from anything :func:`teacher_spec` understands."""
    return configure("teachers", teacher_spec(source)).build(frozen=frozen)


def digest_weights(model: Any) -> str:
    """SHA-256 of all weights of a module, by their names: what a teacher is, whatever the name of its directory."""
    return sha256_of_named((key, value.cpu().numpy().tobytes()) for key, value in model.state_dict().items())
