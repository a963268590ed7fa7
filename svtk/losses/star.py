"""STaR (Jang et al., ICASSP 2024): relations between frames, as temporal Gram matrices, instead of their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.losses._layers import teacher_layer_of_each_block
from svtk.losses._precision import at_least_float32

__all__ = ["Config", "STaR", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's best: layer-wise and intra-layer matrices together.

    ``layer_wise`` and ``intra_layer`` are the weights of the two. ``teacher_layers`` gives each of the student's
    blocks 1 ... L its teacher layer; left out, they are spread evenly up to the last. ``normalize`` ``frame`` brings
    every frame to length 1 first, so that the matrices hold cosines (for teachers with a few huge dimensions or
    frames).
    """

    layer_wise: float = 1.0
    intra_layer: float = 1.0
    teacher_layers: tuple[int, ...] | None = None
    normalize: Literal["none", "frame"] = "none"

    def __post_init__(self) -> None:
        if min(self.layer_wise, self.intra_layer) < 0 or self.layer_wise + self.intra_layer == 0:
            raise ValueError("layer_wise and intra_layer must not be negative, and not both 0")


class STaR(nn.Module):
    """Mean squared error between temporal Gram matrices (TGM), T × T, of student s and teacher h.

    layer-wise:  G_l = F_l F_lᵀ / H, frame against frame of the output of block l
    intra-layer: G_l = F_{l−1} F_lᵀ / H, frames of what enters block l against frames of what leaves it

    over the student's blocks l = 1 ... L, with F_l = s_l, and with F_l = h_m(l) where m is the map of layers and
    m(0) = 0. The loss is the mean over blocks, utterances and the T² pairs of frames of (G^S − G^T)², for either
    kind, times its weight. The division by each side's own width H is ours: it makes any widths comparable without a
    learned projection. The paper's third objective, averaged attention maps, needs attention on both sides; the
    mixers have none.

    Attributes:
        layer_map: teacher layer of each of the student's blocks.
        teacher_layers: layers, counted from 0, that :meth:`forward` needs.
    """

    def __init__(self, config: Config, num_student_hidden: int, num_teacher_hidden: int):
        super().__init__()
        self.config = config
        self.layer_map = teacher_layer_of_each_block(
            "teacher_layers", config.teacher_layers, num_student_hidden, num_teacher_hidden
        )
        self.teacher_layers = sorted({*self.layer_map, *([0] if config.intra_layer else [])})

    def forward(self, student: Sequence[Tensor], teacher: Mapping[int, Tensor]) -> Tensor:
        """L+1 student states (B, T, H) and teacher states {layer: (B, T, H')} to a scalar."""
        config = self.config
        with torch.autocast(student[0].device.type, enabled=False):
            mine = [self._frames(state) for state in student]
            theirs = {layer: self._frames(teacher[layer]) for layer in self.teacher_layers}
            total = mine[0].new_zeros(())
            for block, layer in enumerate(self.layer_map, 1):
                if config.layer_wise:
                    difference = F.mse_loss(_gram(mine[block], mine[block]), _gram(theirs[layer], theirs[layer]))
                    total = total + config.layer_wise * difference
                if config.intra_layer:
                    entered = theirs[self.layer_map[block - 2] if block > 1 else 0]
                    difference = F.mse_loss(_gram(mine[block - 1], mine[block]), _gram(entered, theirs[layer]))
                    total = total + config.intra_layer * difference
        return total / len(self.layer_map)

    def _frames(self, state: Tensor) -> Tensor:
        """Frames (B, T, H) scaled so that their inner products are the entries of a TGM."""
        state = at_least_float32(state)
        return F.normalize(state, dim=-1) if self.config.normalize == "frame" else state / state.shape[-1] ** 0.5


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (B, T, T) of the frames of *left* and *right*, both (B, T, H)."""
    return left @ right.transpose(1, 2)


def build(
    config: Config, *, student_dim: int, teacher_dim: int, num_student_hidden: int, num_teacher_hidden: int
) -> STaR:
    """The loss; widths do not matter to it.

    Raises:
        ConfigError: ``teacher_layers`` does not fit student or teacher.
    """
    return STaR(config, num_student_hidden, num_teacher_hidden)
