"""OS-KDFT (Heo et al., Interspeech 2023): student and backend learn together from teacher and speakers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from svtk.config import from_mapping
from svtk.data.targets import Targets
from svtk.data.teacher_embeddings import TeacherEmbeddings
from svtk.errors import ConfigError
from svtk.losses.hidden_mse import Statistics
from svtk.models.speaker_model import SpeakerModel, StudentSpec, build_model
from svtk.models.teacher import digest_weights, load_teacher
from svtk.registry import Component, configure
from svtk.train import parallel
from svtk.train.options import TrainOptions, resolve
from svtk.train.run import Run

__all__ = ["DistillConfig", "distill", "kd_components", "wanted_targets"]


@dataclasses.dataclass(frozen=True)
class DistillConfig(TrainOptions, StudentSpec):
    """Configuration of ``svtk distill``; the defaults are the paper's.

    Attributes:
        sv_loss: component, ``{name: ..., option: ...}``, as frontend, student and backend are.
        kd_losses: list of components with a ``weight`` each, which compare hidden states or embeddings; one of
            weight 0 is only watched; an empty list trains without a teacher.
        sv_weight: weight of the SV loss; 0 leaves it out.
        teacher_context: what a teacher in the loop hears: the ``crop``, as in the paper, or the whole
            ``utterance``, whose states are then cut along the crop, as cached teacher targets are. Beside cached
            ones it hears the utterance.
    """

    sv_loss: dict = dataclasses.field(default_factory=lambda: {"name": "aam_softmax"})
    kd_losses: tuple[dict, ...] = ({"name": "hidden_mse", "weight": 1.0},)
    sv_weight: float = 1.0
    teacher_context: Literal["crop", "utterance"] = "crop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.sv_weight < math.inf:
            raise ValueError("sv_weight must not be negative")


def kd_components(config: DistillConfig, path: Any = None) -> list[tuple[float, Component]]:
    """The KD losses as ``(weight, component)``."""
    result = []
    for index, spec in enumerate(config.kd_losses):
        weight = spec.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
            raise ConfigError(
                f"wrong value for 'kd_losses.{index}.weight'",
                path=path,
                found=repr(weight),
                expected="a number, not negative",
            )
        options = {key: value for key, value in spec.items() if key != "weight"}
        result.append((float(weight), configure("losses", options, f"kd_losses.{index}", path)))
    return result


@parallel.in_all_processes
def distill(
    mapping: dict[str, Any],
    run: Run,
    *,
    teacher: str | None = None,
    targets: str | None = None,
    teacher_embeddings: str | None = None,
    path: Any = None,
) -> None:
    """Distill a student and save it as MODEL_DIR.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        run: data, MODEL_DIR, seed and device.
        teacher: hub name or directory, for targets on the fly.
        targets: directory of cached teacher targets, instead; with *teacher*, of some of the utterances: it gives
            those of the others, and the result is that of a directory that has all (uncompressed ones, same device).
        teacher_embeddings: rspecifier of one vector per training utterance, for KD losses between embeddings.
        path: configuration file, for messages.

    Raises:
        ConfigError: a wrong configuration, or teacher targets made for other crops or without layers it needs.
        DataError: unreadable data, or utterances without teacher target or embedding.
        ModelError: MODEL_DIR holds another run, or the teacher cannot be loaded.
    """
    config = from_mapping(DistillConfig, mapping, path=path)
    components, resolved = resolve(config, path)
    kd = kd_components(config, path)
    resolved["kd_losses"] = [{**component.spec(), "weight": weight} for weight, component in kd]
    of_hidden = [component for _, component in kd if "teacher_dim" in component.wiring]
    if of_hidden and teacher is None and targets is None:
        raise ConfigError(
            "distillation needs --teacher, --targets or both", path=path, mend="give one, or set kd_losses=[]"
        )
    _check_embeddings_wanted(kd, teacher_embeddings, path)
    if not config.sv_weight and not any(weight for weight, _ in kd):
        raise ConfigError("nothing to learn: sv_weight and all weights of kd_losses are 0", path=path)
    vectors = TeacherEmbeddings(teacher_embeddings) if teacher_embeddings is not None else None
    identity = vectors.identity() if vectors is not None else None
    if run.finished("distill", resolved, teacher=teacher, targets=targets, teacher_embeddings=identity):
        return
    source, distillation, teacher_side, wiring = None, {}, {"teacher_embeddings": vectors}, {}
    if of_hidden:
        source = load_teacher(teacher) if teacher is not None else Targets(targets, []).info
    torch.manual_seed(run.seed)  # after loading: what is drawn does not hang on where teacher states come from
    model = build_model(config.model_config(path), path=path)
    if vectors is not None:
        wiring = {"embedding_dim": model.embedding_dim, "teacher_embedding_dim": vectors.dim}
    if source is not None:
        statistics = None if targets is None else Targets(targets, []).statistics
        wiring |= _hidden_wiring(model, source, statistics)
    losses = _build(kd, wiring)
    if of_hidden and teacher is not None:
        distillation = {"teacher": source}
        teacher_side["whole"] = targets is not None or config.teacher_context == "utterance"
    if of_hidden and targets is not None:
        teacher_side["targets"] = cached = _open_targets(targets, _teacher_layers(losses), config, run.vad)
        if teacher is not None and cached.info.weights != digest_weights(source):
            raise ConfigError(
                "teacher targets were made by another teacher",
                path=targets,
                found=cached.info.teacher,
                expected=teacher,
                mend="give the --teacher that extract-targets had",
            )
        teacher_side["crop_frames"] = model.window_frames
    dataset = run.crops(config, **teacher_side)
    del vectors, teacher_side  # the dataset holds what it needs of a table that may fill gigabytes
    distillation |= {"kd_losses": losses, "sv_weight": config.sv_weight}
    run.train(model, dataset, components["sv_loss"], config, **distillation)


def wanted_targets(configs: Iterable[tuple[dict[str, Any], Any]], teacher: Any) -> tuple[list[int], float]:
    """The layers and the shortest duration (s) of cached teacher targets for *configs*.

    Args:
        configs: configurations as :func:`distill` takes them, each with its path, for messages.
        teacher: whose targets they are, a :class:`svtk.teachers._base.Teacher`.

    Raises:
        ConfigError: a wrong configuration, a layer that the teacher does not have, or crops of several durations.
    """
    layers: set[int] = set()
    durations: dict[float, Any] = {}
    for mapping, path in configs:
        config = from_mapping(DistillConfig, mapping, path=path)
        kd = [(weight, loss) for weight, loss in kd_components(config, path) if "teacher_dim" in loss.wiring]
        model = build_model(config.model_config(path), path=path)
        layers.update(_teacher_layers(_build(kd, _hidden_wiring(model, teacher, _no_statistics))))
        durations.setdefault(config.crop_duration, path)
    if len(durations) > 1:
        raise ConfigError(
            "crops of several durations want teacher targets of their own",
            found=", ".join(f"crop_duration {duration} ({path})" for duration, path in durations.items()),
            mend="cache those of each in another directory, or let distill run the teacher (--teacher)",
        )
    return sorted(layers), durations.popitem()[0]


def _no_statistics(_layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Of targets that are not there yet."""
    return np.zeros(1), np.ones(1)


def _hidden_wiring(model: SpeakerModel, source: Any, statistics: Statistics | None) -> dict[str, Any]:
    """What KD losses between the hidden states of *model* and of *source*, a teacher or TargetsInfo, are built of."""
    return {
        "student_dim": model.encoder.hidden_dim,
        "teacher_dim": source.hidden_dim,
        "num_student_hidden": model.encoder.num_hidden,
        "num_teacher_hidden": source.num_hidden,
        "teacher_statistics": statistics,
    }


def _teacher_layers(losses: list[tuple[str, float, nn.Module]]) -> list[int]:
    """All that *losses* compare with, counted from 0."""
    return sorted({layer for *_, loss in losses for layer in getattr(loss, "teacher_layers", ())})


def _build(kd: list[tuple[float, Component]], wiring: dict[str, int]) -> list[tuple[str, float, nn.Module]]:
    """The KD losses by name, each with what it takes of *wiring*; a second one of a kind has a name of its own."""
    names = [component.name for _, component in kd]
    return [
        (
            name if name not in names[:i] else f"{name}_{i}",
            weight,
            component.build(**{key: value for key, value in wiring.items() if key in component.wiring}),
        )
        for i, (name, (weight, component)) in enumerate(zip(names, kd, strict=True))
    ]


def _check_embeddings_wanted(kd: list[tuple[float, Component]], given: str | None, path: Any) -> None:
    wanting = [component.name for _, component in kd if "teacher_embedding_dim" in component.wiring]
    if wanting and given is None:
        raise ConfigError(
            f"{wanting[0]!r} needs teacher embeddings",
            path=path,
            mend="give --teacher-embeddings RSPECIFIER, or take it out of kd_losses",
        )
    if given is not None and not wanting:
        raise ConfigError(
            "no loss of kd_losses compares embeddings",
            path=path,
            found=f"--teacher-embeddings {given}",
            mend="add {name: embedding_cosine} or {name: embedding_relational} to kd_losses, or leave the option out",
        )


def _open_targets(directory: str, layers: list[int], config: DistillConfig, vad: bool) -> Targets:
    cached = Targets(directory, [])
    missing = sorted(set(layers) - set(cached.info.layers))
    if missing:
        every = ",".join(map(str, sorted({*layers, *cached.info.layers})))
        raise ConfigError(
            f"no teacher targets of layer(s) {', '.join(map(str, missing))}, which kd_losses need",
            path=directory,
            found=f"layers {cached.info.layers}",
            mend=f"run svtk extract-targets --layers {every} into another directory",
        )
    if cached.info.vad != vad:
        which = {True: "speech only", False: "whole utterances"}
        raise ConfigError(
            "teacher targets were made of other audio",
            path=directory,
            found=which[cached.info.vad],
            expected=which[vad],
            mend="give --vad to both or to none of extract-targets and distill",
        )
    if abs(cached.info.min_duration - config.crop_duration) > 1e-6:
        raise ConfigError(
            "teacher targets were made for other crops",
            path=directory,
            found=f"min_duration {cached.info.min_duration}",
            expected=f"crop_duration {config.crop_duration}",
            mend=f"run svtk extract-targets with --min-duration {config.crop_duration}",
        )
    return Targets(directory, layers)
