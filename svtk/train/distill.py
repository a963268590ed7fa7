"""OS-KDFT (Heo et al., Interspeech 2023): student and backend learn together from teacher and speakers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch

from svtk.config import from_mapping
from svtk.data.targets import Targets
from svtk.errors import ConfigError
from svtk.models.speaker_model import StudentSpec, build_model
from svtk.models.teacher import load_teacher
from svtk.registry import Component, configure
from svtk.train.options import TrainOptions, resolve
from svtk.train.run import Run

__all__ = ["DistillConfig", "distill", "kd_components"]


@dataclasses.dataclass(frozen=True)
class DistillConfig(TrainOptions, StudentSpec):
    """Configuration of ``svtk distill``; the defaults are the paper's.

    Attributes:
        sv_loss: component, ``{name: ..., option: ...}``, as frontend, student and backend are.
        kd_losses: list of components with a ``weight`` each; one of weight 0 is only watched; an empty list trains
            without a teacher.
        sv_weight: weight of the SV loss; 0 leaves it out.
        teacher_context: what a teacher in the loop hears: the ``crop``, as in the paper, or the whole
            ``utterance``, whose states are then cut along the crop, as cached teacher targets are.
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


def distill(
    mapping: dict[str, Any], run: Run, *, teacher: str | None = None, targets: str | None = None, path: Any = None
) -> None:
    """Distill a student and save it as MODEL_DIR.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        run: data, MODEL_DIR, seed and device.
        teacher: hub name or directory, for targets on the fly.
        targets: directory of cached teacher targets, instead.
        path: configuration file, for messages.

    Raises:
        ConfigError: a wrong configuration, or teacher targets made for other crops or without layers it needs.
        DataError: unreadable data, or utterances without teacher targets.
        ModelError: MODEL_DIR holds another run, or the teacher cannot be loaded.
    """
    config = from_mapping(DistillConfig, mapping, path=path)
    components, resolved = resolve(config, path)
    kd = kd_components(config, path)
    resolved["kd_losses"] = [{**component.spec(), "weight": weight} for weight, component in kd]
    if kd and (teacher is None) == (targets is None):
        raise ConfigError(
            "distillation needs one of --teacher and --targets", path=path, mend="give one, or set kd_losses=[]"
        )
    if not config.sv_weight and not any(weight for weight, _ in kd):
        raise ConfigError("nothing to learn: sv_weight and all weights of kd_losses are 0", path=path)
    if run.finished("distill", resolved, teacher=teacher, targets=targets):
        return
    losses, distillation, teacher_side = [], {}, {}
    if kd:
        source = load_teacher(teacher) if teacher is not None else Targets(targets, []).info
    torch.manual_seed(run.seed)  # after loading: what is drawn does not hang on where teacher states come from
    model = build_model(config.model_config(path), path=path)
    if kd:
        wiring = {
            "student_dim": model.encoder.hidden_dim,
            "teacher_dim": source.hidden_dim,
            "num_student_hidden": model.encoder.num_hidden,
            "num_teacher_hidden": source.num_hidden,
        }
        names = [component.name for _, component in kd]
        losses = [  # a second one of a kind is counted under a name of its own
            (name if name not in names[:i] else f"{name}_{i}", weight, component.build(**wiring))
            for i, (name, (weight, component)) in enumerate(zip(names, kd, strict=True))
        ]
        if teacher is not None:
            distillation = {"teacher": source}
            teacher_side = {"whole": config.teacher_context == "utterance"}
        else:
            layers = sorted({layer for *_, loss in losses for layer in loss.teacher_layers})
            teacher_side = {
                "targets": _open_targets(targets, layers, config, run.vad),
                "crop_frames": model.window_frames,
            }
    dataset = run.crops(config, **teacher_side)
    distillation |= {"kd_losses": losses, "sv_weight": config.sv_weight}
    run.train(model, dataset, components["sv_loss"], config, **distillation)


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
