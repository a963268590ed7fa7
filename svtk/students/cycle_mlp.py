"""CycleMLP (Chen et al., ICLR 2022) along time, a student of SV-Mixer's Table I (arXiv 2509.14136).

A block is a Cycle FC, which mixes time, and a channel MLP H → 4H → H. A Cycle FC is a linear layer H → H whose input
channel c is read c mod S - S // 2 frames away, at the cost of a linear layer without offsets. In images CycleMLP
runs three of them side by side (along height, along width, in place), weighs the branches and projects their sum.
Frames have one axis, so that one Cycle FC is left, with nothing to weigh or to project: at H = 1024, T = 149,

    parameters  8 H² + 5 H  +  H² + H  +  4 H (two LayerNorms)  =  9,447,424   (Table I: 9.45 M)
    MACs        9 T H²                                          =  1.406 G     (Table I: 1.42)

Any second H × H matrix would make it 10.5 M. S is 3, as in the authors' code. No weight depends on T: the receptive
field is 1 + (S - 1) L frames, 11 at 5 blocks.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.onednn import Precision
from svtk.students._base import BlockStack, StudentConfig
from svtk.students._blocks import ChannelMLP, MixerBlock
from svtk.students._fused import fused_linear

__all__ = ["Config", "CycleFC", "build"]


@dataclasses.dataclass(frozen=True)
class Config(StudentConfig):
    """Options; the defaults are the paper's sizes. ``cycle`` is S, odd."""

    expansion: int = 4
    cycle: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycle % 2 == 0:
            raise ValueError("cycle must be odd")


class CycleFC(nn.Module):
    """y[t] = b + Σ_c W[:, c] x[t + c mod S - S // 2, c]; frames outside are zeros.

    The columns of ``linear.weight`` stand in the order of :attr:`channels`: offset by offset, so that the shifted
    input is S slices side by side and the rest one matrix product.
    """

    def __init__(self, dim: int, cycle: int):
        super().__init__()
        self.cycle = cycle
        self.linear = nn.Linear(dim, dim)

    @property
    def channels(self) -> list[int]:
        """The channel c of each column of the weight."""
        dim = self.linear.in_features
        return [c for offset in range(self.cycle) for c in range(offset, dim, self.cycle)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        return self.linear(self.shifted(x))

    def shifted(self, x: Tensor) -> Tensor:
        """The frames (B, T, H) with every channel read where its weight expects it, in the order of the columns."""
        frames, reach = x.shape[1], self.cycle // 2
        x = F.pad(x, (0, 0, reach, reach))  # (B, T + S - 1, H)
        shifted = [x[:, offset : offset + frames, offset :: self.cycle] for offset in range(self.cycle)]
        return torch.cat(shifted, dim=2)

    def fused(self, precision: Precision) -> FusedCycleFC:
        return FusedCycleFC(self, precision)


class FusedCycleFC(nn.Module):
    """For inference on CPUs: residual + CycleFC(normed)."""

    def __init__(self, plain: CycleFC, precision: Precision):
        super().__init__()
        self.shifted, self.linear = plain.shifted, fused_linear(plain.linear, precision)

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        return self.linear(self.shifted(normed), residual)


def build(config: Config, *, num_frames: int) -> BlockStack:
    """The student for windows of *num_frames* frames of 20 ms."""

    def block(last: bool) -> MixerBlock:
        channel = ChannelMLP(config.hidden_dim, config.expansion * config.hidden_dim)
        return MixerBlock(config.hidden_dim, CycleFC(config.hidden_dim, config.cycle), channel, config.dropout, last)

    return BlockStack(config, num_frames, block)
