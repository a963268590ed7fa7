"""Model and losses as one module, from a batch to its losses: what learns together, and what DDP wraps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from svtk.data.crops import Batch, HiddenBatch
from svtk.errors import ConfigError, ModelError
from svtk.models.speaker_model import SpeakerModel

__all__ = ["Objective", "align_frames", "recompute_activations", "teacher_states"]


class Objective(nn.Module):
    """Student (or teacher) and backend under one SV loss and any number of KD losses (OS-KDFT).

    Args:
        model: what is trained; parts that must not learn are frozen by the caller.
        sv_loss: speaker loss, embeddings (B, E) and labels (B,) to a scalar.
        sv_weight: its weight; at 0 it is left out.
        kd_losses: ``(name, weight, loss)``; a loss with ``teacher_layers`` maps student states and teacher states to
            a scalar, another one the student's and the teacher's embeddings; one of weight 0 is watched and learns
            nothing.
    """

    def __init__(
        self,
        model: SpeakerModel,
        sv_loss: nn.Module,
        sv_weight: float = 1.0,
        kd_losses: Sequence[tuple[str, float, nn.Module]] = (),
    ):
        super().__init__()
        self.model, self.sv_loss, self.sv_weight = model, sv_loss, sv_weight
        self.kd_losses = nn.ModuleList(loss for *_, loss in kd_losses)
        self.kd_weights = {name: weight for name, weight, _ in kd_losses}
        if not sv_weight:
            sv_loss.requires_grad_(False)
        for _, weight, loss in kd_losses:
            if not weight:
                loss.requires_grad_(False)

    @property
    def teacher_layers(self) -> set[int]:
        """Layers of the teacher that the KD losses need."""
        return {layer for loss in self.kd_losses for layer in getattr(loss, "teacher_layers", ())}

    def forward(self, batch: Batch | HiddenBatch, teacher: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """A batch and teacher states {layer: (B, T, H')} to the losses, each a scalar, by name."""
        if isinstance(batch, HiddenBatch):
            hidden, embedding = batch.hidden, self.model.backend(batch.hidden)
        else:
            hidden, embedding = self.model(batch.wav)
        losses = {}
        if self.sv_weight:
            losses["sv"] = self.sv_loss(embedding, batch.label)
        states = align_frames(hidden, teacher) if teacher else ()
        for (name, weight), loss in zip(self.kd_weights.items(), self.kd_losses, strict=True):
            sides = states if hasattr(loss, "teacher_layers") else (embedding, batch.teacher_embedding)
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                losses[name] = loss(*sides)
        return losses

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        weights = {"sv": self.sv_weight, **self.kd_weights}
        return sum(weights[name] * loss for name, loss in losses.items() if weights[name])


def align_frames(student: list[Tensor], teacher: Mapping[int, Tensor]) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Trim the last frame of the longer side: frontends differ by at most one frame (149 and 150 in 3 s).

    Raises:
        ModelError: the two differ by more.
    """
    mine = student[0].shape[1]
    theirs = {state.shape[1] for state in teacher.values()}
    if any(abs(mine - frames) > 1 for frames in theirs):
        raise ModelError(
            "student and teacher disagree on frames",
            found=f"{mine} and {sorted(theirs)}",
            expected="the same number, or one more",
        )
    frames = min(mine, *theirs)
    return [state[:, :frames] for state in student], {layer: state[:, :frames] for layer, state in teacher.items()}


@torch.no_grad()
def teacher_states(
    teacher: Callable[[Tensor], Sequence[Tensor]] | None, batch: Batch, layers: set[int], num_frames: int
) -> dict[int, Tensor]:
    """Teacher states {layer: (B, T, H)} of a batch: cached, on the fly, or those that are not cached on the fly.

    Args:
        teacher: wav (B, N) to hidden states; None where the batch has them.
        batch: on the teacher's device.
        layers: which states.
        num_frames: T of a crop, where the teacher hears whole utterances.
    """
    if batch.targets is not None and batch.cached is None:
        return {layer: batch.targets[layer] for layer in layers}
    if batch.utterances is None:
        states = teacher(batch.clean)
        return {layer: states[layer] for layer in layers}
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    utterances, num_cached = iter(batch.utterances), 0
    for start, cached in zip(batch.start_frames, batch.cached or [False] * len(batch.start_frames), strict=True):
        states = None if cached else teacher(next(utterances)[None])
        for layer in layers:
            row = batch.targets[layer][num_cached] if cached else states[layer][0, start : start + num_frames]
            rows[layer].append(row)
        num_cached += cached
    frames = min(len(row) for states in rows.values() for row in states)
    return {layer: torch.stack([row[:frames] for row in states]) for layer, states in rows.items()}


def recompute_activations(model: SpeakerModel) -> None:
    """Keep no activations inside the student's blocks: the backward pass computes each block's once more.

    Raises:
        ConfigError: the model is no student, or its encoder is frozen and keeps none anyway.
    """
    blocks = getattr(getattr(model.encoder, "student", None), "blocks", None)
    if blocks is None or not any(p.requires_grad for p in blocks.parameters()):
        raise ConfigError("activation_checkpointing is for the blocks of a student that learns", mend="set it to false")
    for block in blocks:
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *args: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False) if torch.is_grad_enabled() else forward(*args)
