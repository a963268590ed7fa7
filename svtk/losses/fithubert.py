"""Hints at every layer, after FitHuBERT (Lee et al., Interspeech 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._layers import teacher_layer_of_each_block
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "FitHuBERT", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's.

    ``hint_weight`` is λ, the weight of every block but the last. ``teacher_layers`` gives each of the student's
    blocks 1 ... L its teacher layer; left out, they are spread evenly up to the last (the paper's student is as deep
    as its teacher: layer by layer).
    """

    hint_weight: float = 0.1
    teacher_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.hint_weight < 0:
            raise ValueError("hint_weight must not be negative")


class FitHuBERT(nn.Module):
    """MSE(P_L s_L, h_m(L)) + λ Σ_{l < L} MSE(P_l s_l, h_m(l)), s the student's states, h the teacher's.

    P_l is a learned linear projection of its own for every block l, m the map of layers. The paper's student halves
    the frame rate and brings it back before it is compared; ours has the teacher's frame rate. The authors' released
    configuration gives hints to two blocks drawn at random; here every block has its.

    Attributes:
        layer_map: teacher layer of each of the student's blocks.
        teacher_layers: layers, counted from 0, that :meth:`forward` needs.
    """

    def __init__(
        self, config: Config, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
    ):
        super().__init__()
        self.layer_map = teacher_layer_of_each_block(
            "teacher_layers", config.teacher_layers, num_student_hidden, num_teacher_hidden
        )
        self.teacher_layers = sorted(set(self.layer_map))
        self.hint_weight = config.hint_weight
        self.projections = nn.ModuleList(nn.Linear(student_dim, teacher_dim) for _ in self.layer_map)

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar."""
        *hints, last = (
            F.mse_loss(at_least_float32(project(state)), at_least_float32(teacher[layer]))
            for project, state, layer in zip(self.projections, student[1:], self.layer_map, strict=True)
        )
        return last + self.hint_weight * sum(hints)


def build(
    config: Config, *, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
) -> FitHuBERT:
    """The loss between widths *student_dim* and *teacher_dim*.

    Raises:
        ConfigError: ``teacher_layers`` does not fit student or teacher.
    """
    return FitHuBERT(config, student_dim, teacher_dim, num_student_hidden, num_teacher_hidden)
