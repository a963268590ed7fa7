"""What the MLP students are made of: an MLP along time, one along channels, and the two residual steps of a block."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.onednn import Precision, dtype_of
from svtk.students._fused import FusedChannelMLP, FusedMixerBlock, FusedToken, Unfused

__all__ = ["ChannelMLP", "MixerBlock", "TokenMLP"]


class TokenMLP(nn.Module):
    """Global time mixing, shared over channels: Linear(T → inner) → GELU → Linear(inner → T)."""

    def __init__(self, num_frames: int, inner: int):
        super().__init__()
        self.up = nn.Linear(num_frames, inner)
        self.down = nn.Linear(inner, num_frames)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H); the weights multiply from the left, so that nothing is transposed."""
        x = F.gelu(_left(self.up, x))  # (B, inner, H)
        return _left(self.down, x)

    def fused(self, precision: Precision) -> FusedToken:
        return FusedToken(self.up, self.down, precision)


def _left(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer over axis 1 of (B, T, H)."""
    # not len(x), a constant to torch.export, which would fail and begin again in a slower way
    return torch.baddbmm(layer.bias[:, None], layer.weight.expand(x.shape[0], -1, -1), x)


class ChannelMLP(nn.Sequential):
    """One MLP over all channels: Linear(H → inner) → GELU → Linear(inner → H)."""

    def __init__(self, dim: int, inner: int):
        super().__init__(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))

    def fused(self, precision: Precision) -> FusedChannelMLP:
        return FusedChannelMLP(self[0], self[2], precision)


class MixerBlock(nn.Module):
    """x + time_mixing(LayerNorm(x)), then x + channel_mixing(LayerNorm(x)); dropout before each residual sum.

    Args:
        dim: H.
        time_mixing, channel_mixing: each (B, T, H) to (B, T, H).
        dropout: probability.
        last: the last block of a student has no dropout after channel mixing.
    """

    def __init__(self, dim: int, time_mixing: nn.Module, channel_mixing: nn.Module, dropout: float, last: bool = False):
        super().__init__()
        self.time_norm = nn.LayerNorm(dim)
        self.time_mixing = time_mixing
        self.channel_norm = nn.LayerNorm(dim)
        self.channel_mixing = channel_mixing
        self.time_dropout = nn.Dropout(dropout)
        self.channel_dropout = nn.Identity() if last else nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        x = x + self.time_dropout(self.time_mixing(self.time_norm(x)))
        return x + self.channel_dropout(self.channel_mixing(self.channel_norm(x)))

    def fused(self, precision: Precision) -> FusedMixerBlock:
        """A copy for inference on CPUs; a mixing may offer ``fused(precision)`` of its own."""
        dtype = dtype_of(precision)
        norms = (copy.deepcopy(norm).to(dtype) for norm in (self.time_norm, self.channel_norm))
        steps = (
            mixing.fused(precision) if hasattr(mixing, "fused") else Unfused(mixing, precision)
            for mixing in (self.time_mixing, self.channel_mixing)
        )
        (time_norm, channel_norm), (time, channel) = norms, steps
        return FusedMixerBlock(time_norm, time, channel_norm, channel)
