"""ConvMixer of keyword spotting (Ng et al., ICASSP 2022), a student of SV-Mixer's Table I (arXiv 2509.14136).

A block is a depthwise separable convolution along time and then a mixer, an MLP over time and one over channels, with
one skip connection around all:

    y = SiLU(LayerNorm(pointwise(depthwise(x))))
    y = y + token_mlp(LayerNorm(y));  y = y + channel_mlp(LayerNorm(y))
    out = x + y

Ng et al. convolve the frequencies of a spectrogram before that, in two dimensions. Channels of hidden states have
no neighbours, and 64 maps of H × T would be 64 times the memory of every other student: that part is left out, and so
is the Swish behind the mixer, which would let a block do little else than add. BatchNorm became LayerNorm, so that
a crop's states never hang on its batch; the depthwise kernel is 7, as SV-Mixer's.

The paper gives no sizes of its version. Theirs shrink inside the MLPs; with expansion e in both MLPs the
counts are, at H = 1024, T = 149,

    parameters  (1 + 2 e) H²  +  2 e T²  +  (7 + 3 · 2) H  +  biases
    MACs        T ((1 + 2 e) H² + 7 H)  +  2 e H T²

and e = 3.7 meets both columns of Table I: 8,997,917 parameters (9.02 M) and 1.483 GMACs (1.48). An expansion of 4
would have 9.64 M. Inner widths are rounded up to multiples of 8, as matrix units want them.
"""

from __future__ import annotations

import copy
import dataclasses
import math

import torch.nn.functional as F
from torch import Tensor, nn

from svtk.onednn import FusedConv, Precision, dtype_of
from svtk.students._base import BlockStack, StudentConfig
from svtk.students._blocks import ChannelMLP, MixerBlock, TokenMLP
from svtk.students._fused import fused_linear

__all__ = ["Config", "ConvMixerBlock", "build"]


@dataclasses.dataclass(frozen=True)
class Config(StudentConfig):
    """Options. ``kernel`` is that of the depthwise convolution, odd; ``expansion`` that of both MLPs."""

    kernel: int = 7
    expansion: float = 3.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")


class ConvMixerBlock(nn.Module):
    """x + mixer(SiLU(LayerNorm(pointwise(depthwise(x)))))."""

    def __init__(self, config: Config, num_frames: int, last: bool = False):
        super().__init__()
        dim = config.hidden_dim

        def inner(size: int) -> int:
            return 8 * math.ceil(config.expansion * size / 8)

        self.depthwise = nn.Conv1d(dim, dim, config.kernel, padding=config.kernel // 2, groups=dim, bias=False)
        self.pointwise = nn.Linear(dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        token, channel = TokenMLP(num_frames, inner(num_frames)), ChannelMLP(dim, inner(dim))
        self.mixer = MixerBlock(dim, token, channel, config.dropout, last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.dropout(F.silu(self.norm(self.pointwise(y))))
        return x + self.mixer(y)

    def fused(self, precision: Precision) -> FusedConvMixerBlock:
        return FusedConvMixerBlock(self, precision)


class FusedConvMixerBlock(nn.Module):
    """For inference on CPUs."""

    def __init__(self, plain: ConvMixerBlock, precision: Precision):
        super().__init__()
        conv = plain.depthwise
        self.depthwise = FusedConv(conv.weight, None, precision, padding=conv.padding[0], groups=conv.groups)
        self.pointwise = fused_linear(plain.pointwise, precision)
        self.norm = copy.deepcopy(plain.norm).to(dtype_of(precision))
        self.mixer = plain.mixer.fused(precision)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        y = self.norm(self.pointwise(self.depthwise(x)))
        return x + self.mixer(F.silu(y, inplace=True))


def build(config: Config, *, num_frames: int) -> BlockStack:
    """The student for windows of *num_frames* frames of 20 ms."""
    return BlockStack(config, num_frames, lambda last: ConvMixerBlock(config, num_frames, last))
