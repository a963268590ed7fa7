"""KD by the cosine between one hidden state of student and of teacher: directions without lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._layers import layer_of, projection
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "Cosine", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options. Layers are counted from 0, the projected features; negative ones from the last."""

    student_layer: int = -1
    teacher_layer: int = -1


class Cosine(nn.Module):
    """Mean over all frames t of 1 − cos(P s_t, h_t), s the student's state, h the teacher's.

    P is a learned projection where the widths differ, and nothing where they do not.

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

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar in [0, 2]."""
        mine = at_least_float32(self.projection(student[self.student_layer]))
        theirs = at_least_float32(teacher[self.teacher_layers[0]])
        return 1.0 - F.cosine_similarity(mine, theirs, dim=-1).mean()


def build(
    config: Config, *, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
) -> Cosine:
    """The loss between widths *student_dim* and *teacher_dim*.

    Raises:
        ConfigError: a layer that student or teacher does not have.
    """
    return Cosine(config, student_dim, teacher_dim, num_student_hidden, num_teacher_hidden)
