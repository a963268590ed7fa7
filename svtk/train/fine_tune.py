"""A trained model goes on: longer crops, a larger margin (Thienpondt et al., ICASSP 2021), a teacher's encoder, too."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from svtk.config import from_mapping
from svtk.data import SAMPLE_RATE
from svtk.errors import ConfigError
from svtk.models.speaker_model import load_model, save_model
from svtk.train import parallel
from svtk.train.classifier import start_classifier
from svtk.train.options import TrainOptions, resolve
from svtk.train.run import Run
from svtk.train.teacher import save_with_encoder

__all__ = ["FineTuneConfig", "fine_tune"]


@dataclasses.dataclass(frozen=True)
class FineTuneConfig(TrainOptions):
    """Configuration of ``svtk fine-tune``; the defaults fine-tune a student of the paper's with a large margin.

    ``crop_duration`` is the length of a crop alone: the windows of the model stay what they are and cover it, as
    they cover an utterance when it is embedded. 5.98 s are two windows of 3 s (149 frames each); crops that are no
    whole number of windows cost a further window for what is left. Augmentation with noise stays what ``--noise``
    and ``augment`` say; there is none of speed.

    Attributes:
        sv_loss: component.
        train_encoder: the pretrained encoder of a teacher learns, too, and is saved in ``encoder/``: the second of the
            two steps that pretrained models are fine-tuned in (Chen et al., ICASSP 2022), after the backend alone. A
            student's encoder always learns.
    """

    crop_duration: float = 5.98
    batch_size: int = 64
    max_epochs: int = 5
    lr: float = 2e-5
    schedule: Literal["plateau", "cosine"] = "cosine"
    sv_loss: dict = dataclasses.field(
        default_factory=lambda: {"name": "aam_softmax", "margin": 0.5, "top_k_penalty": "none"}
    )
    train_encoder: bool = False


@parallel.in_all_processes
def fine_tune(mapping: dict[str, Any], run: Run, *, model: str, path: Any = None) -> None:
    """Train on the encoder and the backend of *model*, and save both as a new MODEL_DIR.

    A teacher's encoder, which its MODEL_DIR only refers to, stays frozen, and its backend alone is fine-tuned, but with
    ``train_encoder``. The speaker classes begin as :func:`svtk.train.classifier.start_classifier` says.

    Args:
        mapping: configuration as read from YAML and ``--set``.
        run: data, MODEL_DIR, seed and device.
        model: MODEL_DIR to go on from.
        path: configuration file, for messages.

    Raises:
        ConfigError, DataError, ModelError: as :func:`svtk.train.distill.distill`.
    """
    config = from_mapping(FineTuneConfig, mapping, path=path)
    components, resolved = resolve(config, path)
    trained = load_model(model, frozen=not config.train_encoder)
    if config.crop_samples < trained.window_samples:
        raise ConfigError(
            "crops are shorter than a window of the model",
            path=path,
            found=f"crop_duration {config.crop_duration}",
            expected=f"at least {trained.window_samples / SAMPLE_RATE}",
        )
    if run.finished("fine-tune", resolved, model=model):
        return
    save = save_model
    if trained.config.kind == "teacher" and config.train_encoder:
        own = {**trained.config.teacher, "source": "encoder"}
        trained.config = dataclasses.replace(trained.config, teacher=own)
        save = save_with_encoder
    elif trained.config.kind == "teacher":
        trained.freeze_encoder()
    start = partial(start_classifier, source=Path(model))
    torch.manual_seed(run.seed)
    run.train(trained, run.crops(config), components["sv_loss"], config, save=save, start=start)
