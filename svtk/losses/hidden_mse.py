"""KD by mean squared error between one hidden state of student and of teacher (PAPER: KD, default)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._layers import layer_of, projection
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "HiddenMSE", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's (last hidden states, as they are).

    Layers are counted from 0, the projected features; negative ones from the last. ``normalize``
    ``dimension`` brings each teacher dimension to zero mean and unit variance over the batch (running
    statistics in evaluation), for teachers whose dimensions differ by orders of magnitude.
    """

    student_layer: int = -1
    teacher_layer: int = -1
    normalize: Literal["none", "dimension"] = "none"


class HiddenMSE(nn.Module):
    """MSE over all frames and channels; a learned projection joins unequal widths.

    Attributes:
        teacher_layers: layers, counted from 0, that :meth:`forward` needs.
    """

    def __init__(
        self, config: Config, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
    ):
        super().__init__()
        self.student_layer = layer_of("student_layer", config.student_layer, num_student_hidden)
        self.teacher_layers = [layer_of("teacher_layer", config.teacher_layer, num_teacher_hidden)]
        self.projection = projection(student_dim, teacher_dim)
        self.norm = nn.BatchNorm1d(teacher_dim, affine=False) if config.normalize == "dimension" else None

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar."""
        wanted = teacher[self.teacher_layers[0]]
        if self.norm is not None:
            wanted = self.norm(wanted.transpose(1, 2)).transpose(1, 2)
        return F.mse_loss(at_least_float32(self.projection(student[self.student_layer])), at_least_float32(wanted))


def build(
    config: Config, *, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
) -> HiddenMSE:
    """The loss between widths *student_dim* and *teacher_dim*.

    Raises:
        ConfigError: a layer that student or teacher does not have.
    """
    return HiddenMSE(config, student_dim, teacher_dim, num_student_hidden, num_teacher_hidden)
