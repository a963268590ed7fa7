"""Options that every training verb shares; the defaults are the paper's protocol (PAPER: training protocol)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from svtk.config import to_mapping
from svtk.data import FRAME, SAMPLE_RATE, augment
from svtk.registry import Component, configure

__all__ = ["FrozenEncoderOptions", "SgdPhase", "TrainOptions", "resolve"]

#: options of the training verbs that are components, and the rooms of these
_ROOMS = {"frontend": "frontends", "student": "students", "backend": "backends", "sv_loss": "losses"}


@dataclasses.dataclass(frozen=True)
class SgdPhase:
    """A second phase of training, by SGD with momentum, after AdamW's.

    Attributes:
        epochs: the last so many of *max_epochs* are SGD's; 0: all are AdamW's. Where *stop_patience* ends AdamW's
            phase, SGD's begins, too, and the run is so much shorter.
        lr: the rate that its schedule begins with.
        momentum: of the mean of gradients.
    """

    epochs: int = 0
    lr: float = 1e-2
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.lr <= 0 or not 0 <= self.momentum < 1:
            raise ValueError("epochs must not be negative, lr must be positive, momentum must lie in [0, 1)")


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How to train, never where.

    Attributes:
        crop_duration: length of a training crop, and of the windows of the model, in seconds.
        crop_grid: crops start on multiples of this many samples.
        batch_size: crops per step of the optimiser, in all processes and parts together.
        max_epochs: epochs at most; an epoch takes one crop of every utterance.
        lr, weight_decay: of AdamW; SGD has the same decay.
        schedule: ``plateau`` multiplies the rate by *lr_factor* after *lr_patience* validations without
            improvement; ``cosine`` falls to zero over *max_epochs* (for short, fixed budgets). Where there are two
            phases, each has its own.
        sgd: a second phase.
        warmup_epochs: the rate rises linearly over these first epochs.
        stop_patience: stop after this many validations without improvement.
        ema_decay: validate and save the exponential moving average of the weights, in which those of a step back count
            this many times less; 0: the weights themselves. In the first steps the decay is smaller.
        average_last: save the mean of the weights at the ends of so many last epochs, in place of the best
            validation's; 1: those of the last; 0: the best validation's.
        margin_warmup_epochs: the margin of the SV loss rises linearly over these first epochs.
        max_grad_norm: gradients are clipped to this norm.
        valid_every: validate every so many epochs, and after the last.
        precision: of the forward and backward pass; weights, losses and what is saved stay float32.
        nonfinite_patience: a step whose gradient is not finite is left out; more of them than this in a row end
            the run. (With fp16 some are in order: they find the scale of the gradient.)
        grad_accumulation: compute a step's batch in so many parts, for less memory. The result is the same, but for
            BatchNorm and embedding_relational, which see the parts.
        activation_checkpointing: keep no activations inside the student's blocks, and compute them twice: for less
            memory, the same result.
        compile: run the model through torch.compile.
        num_workers: data loading processes of each training process.
        cache_audio: keep the decoded training audio in memory (small corpora).
        shuffle_buffer: utterances among which the order is mixed, where the training data are shards (make-shards).
        augment: noise and reverberation on the student's side, when a noise directory is given; then ``distort``:
            codecs, clipping and coloured noise (``--set augment.distort.prob=0.3``).
    """

    crop_duration: float = 3.0
    crop_grid: int = FRAME
    batch_size: int = 128
    max_epochs: int = 100
    lr: float = 2e-4
    weight_decay: float = 2e-5
    schedule: Literal["plateau", "cosine"] = "plateau"
    sgd: SgdPhase = dataclasses.field(default_factory=SgdPhase)
    warmup_epochs: int = 0
    lr_factor: float = 0.5
    lr_patience: int = 5
    stop_patience: int = 10
    ema_decay: float = 0.0
    average_last: int = 0
    margin_warmup_epochs: int = 0
    max_grad_norm: float = 5.0
    valid_every: int = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    nonfinite_patience: int = 20
    grad_accumulation: int = 1
    activation_checkpointing: bool = False
    compile: bool = False
    num_workers: int = 0
    cache_audio: bool = False
    shuffle_buffer: int = 5000
    augment: augment.Config = dataclasses.field(default_factory=augment.Config)

    def __post_init__(self) -> None:
        for name in ("crop_duration", "crop_grid", "batch_size", "max_epochs", "lr", "valid_every", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if not 0 < self.lr_factor <= 1:
            raise ValueError("lr_factor must lie in (0, 1]")
        for name in ("lr_patience", "stop_patience", "grad_accumulation", "shuffle_buffer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        not_negative = ("weight_decay", "warmup_epochs", "average_last", "margin_warmup_epochs", "num_workers")
        for name in (*not_negative, "nonfinite_patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 0 <= self.ema_decay < 1:
            raise ValueError("ema_decay must lie in [0, 1)")
        if self.ema_decay and self.average_last:
            raise ValueError("ema_decay and average_last are two ways to average: choose one")
        if self.sgd.epochs >= self.max_epochs:
            raise ValueError("sgd.epochs must leave some of max_epochs to AdamW")
        if self.crop_grid % FRAME:
            raise ValueError(f"crop_grid must be a multiple of {FRAME} samples, one frame")

    @property
    def crop_samples(self) -> int:
        """Samples of a crop at 16 kHz."""
        return round(self.crop_duration * SAMPLE_RATE)


@dataclasses.dataclass(frozen=True)
class FrozenEncoderOptions(TrainOptions):
    """Options of training a backend on a frozen encoder.

    Attributes:
        backend, sv_loss: components, ``{name: ..., option: ...}``.
        cache_hidden: encode every utterance this many times, once, before training: as it is and, with a noise
            directory, the further times augmented; then train on crops of these hidden states, held in memory
            as float16. 0 encodes every crop anew (for corpora that do not fit).
    """

    backend: dict = dataclasses.field(default_factory=lambda: {"name": "ecapa_tdnn"})
    sv_loss: dict = dataclasses.field(default_factory=lambda: {"name": "aam_softmax"})
    cache_hidden: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_hidden < 0:
            raise ValueError("cache_hidden must not be negative")


def resolve(config: TrainOptions, path: Any = None) -> tuple[dict[str, Component], dict[str, Any]]:
    """The components that *config* names, by their key, and *config* as a mapping with their defaults filled in.

    Raises:
        ConfigError: an unknown component, or a wrong option of one.
    """
    components = {
        key: configure(room, getattr(config, key), key, path) for key, room in _ROOMS.items() if hasattr(config, key)
    }
    return components, {**to_mapping(config), **{key: component.spec() for key, component in components.items()}}
