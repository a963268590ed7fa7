"""Mixer blocks for inference on CPUs: the same sums as the modules of _blocks.py, with oneDNN's fused operators.

A step takes the normed frames and the residual, both (B, T, H), and gives residual + mixing(normed): the sum is the
epilogue of the last product. What a step has allocated itself it overwrites.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from svtk.onednn import FusedConv, Precision, dtype_of

__all__ = [
    "FusedChannelMLP",
    "FusedMixerBlock",
    "FusedScaleMixing",
    "FusedTimeMixing",
    "FusedToken",
    "Unfused",
    "fused_linear",
]


def fused_linear(layer: nn.Linear, precision: Precision, act: str = "none") -> FusedConv:
    """A linear layer over channels."""
    return FusedConv(layer.weight[:, :, None], layer.bias, precision, act=act)


class FusedToken(nn.Module):
    """:class:`svtk.students._blocks.TokenMLP`: two products from the left, the second added onto its residual."""

    def __init__(self, up: nn.Linear, down: nn.Linear, precision: Precision):
        super().__init__()
        weights = (up.weight, up.bias[:, None], down.weight, down.bias[:, None])
        self.up, self.up_bias, self.down, self.down_bias = (w.detach().to(dtype_of(precision)) for w in weights)

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        inner = normed.new_empty(len(self.up), normed.shape[2])  # (inner, H), for one utterance after the other
        total = residual + self.down_bias
        for row, out in zip(normed, total, strict=True):
            torch.addmm(self.up_bias, self.up, row, out=inner)
            out.addmm_(self.down, torch.ops.aten.gelu_(inner))
        return total


class FusedChannelMLP(nn.Module):
    """:class:`svtk.students._blocks.ChannelMLP`."""

    def __init__(self, up: nn.Linear, down: nn.Linear, precision: Precision):
        super().__init__()
        self.up, self.down = fused_linear(up, precision, "gelu"), fused_linear(down, precision)

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        return self.down(self.up(normed), residual)


class Unfused(nn.Module):
    """A mixing that offers nothing better, as a step."""

    def __init__(self, mixing: nn.Module, precision: Precision):
        super().__init__()
        self.mixing = copy.deepcopy(mixing).to(dtype_of(precision))

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        return residual + self.mixing(normed)


class FusedMixerBlock(nn.Module):
    """:class:`svtk.students._blocks.MixerBlock` of two fused steps."""

    def __init__(self, time_norm: nn.LayerNorm, time: nn.Module, channel_norm: nn.LayerNorm, channel: nn.Module):
        super().__init__()
        self.time_norm, self.time, self.channel_norm, self.channel = time_norm, time, channel_norm, channel

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        x = self.time(self.time_norm(x), x)
        return self.channel(self.channel_norm(x), x)


class FusedTimeMixing(nn.Module):
    """:class:`svtk.students.sv_mixer.LocalGlobalMixing`: the token MLP adds to what the local branch gave."""

    def __init__(self, plain: nn.Module, precision: Precision):
        super().__init__()
        self.mode, self.token = plain.mode, plain.token.fused(precision)
        if self.mode == "parallel":
            wide, _, narrow = plain.local
            self.local = nn.Sequential(_same_conv(wide, precision, "gelu"), _same_conv(narrow, precision))
        elif self.mode == "sequential":
            self.local = _same_conv(plain.local, precision)

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        if self.mode == "parallel":
            wide, narrow = self.local
            return self.token(normed, narrow(wide(normed), residual))
        return self.token(self.local(normed) if self.mode == "sequential" else normed, residual)


class FusedScaleMixing(nn.Module):
    """:class:`svtk.students.sv_mixer.MultiScaleMixing`, both scales and the join.

    The half-rate branch is pooled by one sum of even and odd frames (its first weights are halved) and interpolated as
    an image, which oneDNN's layout makes one pass; it is the residual of the full-rate branch's last product.
    """

    def __init__(self, plain: nn.Module, precision: Precision):
        super().__init__()
        self.full_rate = nn.ModuleList(_channel_mlp(plain.full_rate, precision))
        self.half_rate = (
            None if plain.half_rate is None else nn.ModuleList(_channel_mlp(plain.half_rate, precision, 0.5))
        )
        self.group_conv = None if plain.group_conv is None else _same_conv(plain.group_conv, precision, "gelu")
        self.join = None if plain.join is None else fused_linear(plain.join, precision)

    def forward(self, normed: Tensor, residual: Tensor) -> Tensor:
        up, down = self.full_rate
        coarse = residual if self.join is None else None
        if self.half_rate is not None:
            half_up, half_down = self.half_rate
            end = normed.shape[1] // 2 * 2
            coarse = half_down(half_up(normed[:, 0:end:2] + normed[:, 1:end:2]))  # (B, T // 2, H)
            coarse = _stretch(coarse, normed.shape[1])
            if self.join is None:
                coarse += residual
        y = down(up(normed), coarse)
        return y if self.join is None else self.join(self.group_conv(y), residual)


def _stretch(x: Tensor, frames: int) -> Tensor:
    """Linear interpolation over time, (B, T', H) to (B, T, H), as an image of height 1."""
    image = nn.functional.interpolate(x.transpose(1, 2).unsqueeze(2), (1, frames), mode="bilinear", align_corners=False)
    return image.squeeze(2).transpose(1, 2)


def _same_conv(conv: nn.Conv1d, precision: Precision, act: str = "none") -> FusedConv:
    """A convolution over time that keeps T."""
    return FusedConv(conv.weight, conv.bias, precision, padding=conv.padding[0], groups=conv.groups, act=act)


def _channel_mlp(mlp: nn.Module, precision: Precision, scale: float = 1.0) -> tuple[FusedConv, FusedConv]:
    """Both layers of a channel MLP, grouped or not; its input comes multiplied by 1 / *scale*."""
    if isinstance(mlp, nn.Sequential):
        up, _, down = mlp
        up_weight, up_bias, down_weight, down_bias, groups = up.weight, up.bias, down.weight, down.bias, 1
    else:
        up_weight, down_weight = (w.transpose(1, 2).flatten(0, 1) for w in (mlp.up_weight, mlp.down_weight))
        up_bias, down_bias, groups = mlp.up_bias.flatten(), mlp.down_bias.flatten(), mlp.num_groups
    up = FusedConv(scale * up_weight[:, :, None], up_bias, precision, groups=groups, act="gelu")
    return up, FusedConv(down_weight[:, :, None], down_bias, precision, groups=groups)
