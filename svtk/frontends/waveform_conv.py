"""The waveform frontend of WavLM and of the paper's students: 7 convolutions, LayerNorm, projection."""

from __future__ import annotations

import copy
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.data import FRAME
from svtk.onednn import FusedConv, Precision, dtype_of

__all__ = ["Config", "WaveformConv", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's (512 channels, hop 320 samples, dropout 0.1).

    ``channels`` is one width for every layer, or a list of one per layer.
    """

    channels: int | tuple[int, ...] = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if len(self.kernels) != len(self.strides):
            raise ValueError("kernels and strides must be equally long")
        if not isinstance(self.channels, int) and len(self.channels) != len(self.kernels):
            raise ValueError("channels must be one number or one per layer")
        widths = (self.channels,) if isinstance(self.channels, int) else self.channels
        if min(*widths, *self.kernels, *self.strides, 1) < 1 or not self.kernels:
            raise ValueError("channels, kernels and strides must be positive")
        if math.prod(self.strides) != FRAME:
            raise ValueError(f"the strides make {math.prod(self.strides)} samples a frame, not {FRAME} (20 ms)")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


class WaveformConv(nn.Module):
    """wav (B, N) to projected frames (B, T, H); T = 149 for 3 s.

    Convolutions without bias, GELU, and GroupNorm with one group per channel after the first only; then
    LayerNorm, Linear to H and dropout. No positional encoding. The convolutions begin as those of wav2vec 2.0 and WavLM
    do (He et al., 2015): as PyTorch's own begin, six layers without a norm leave 1/1000 of the signal, whose variance
    is less than LayerNorm's epsilon.
    """

    def __init__(self, config: Config, hidden_dim: int):
        super().__init__()
        count = len(config.kernels)
        widths = [config.channels] * count if isinstance(config.channels, int) else list(config.channels)
        self.kernels, self.strides = config.kernels, config.strides
        self.convs = nn.ModuleList(
            nn.Conv1d(i, o, k, s, bias=False)
            for i, o, k, s in zip([1, *widths[:-1]], widths, config.kernels, config.strides, strict=True)
        )
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)
        self.group_norm = nn.GroupNorm(widths[0], widths[0])
        self.norm = nn.LayerNorm(widths[-1])
        self.projection = nn.Linear(widths[-1], hidden_dim)
        self.dropout = nn.Dropout(config.dropout)

    def num_frames(self, num_samples: int) -> int:
        """Frames that *num_samples* samples give."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return num_samples

    def forward(self, wav: Tensor) -> Tensor:
        x = wav[:, None]  # (B, 1, N)
        for index, conv in enumerate(self.convs):
            x = conv(x)
            if index == 0:
                x = self.group_norm(x)
            x = F.gelu(x)
        return self.dropout(self.projection(self.norm(x.transpose(1, 2))))  # (B, T, H)

    def fused(self, precision: Precision) -> FusedWaveformConv:
        """For inference on CPUs, computing in *precision*."""
        return FusedWaveformConv(self, precision)


class FusedWaveformConv(nn.Module):
    """A :class:`WaveformConv` for inference on CPUs: (B, T, C) throughout, GELU in the convolutions, utterance by
    utterance, since the first layer's output is too large for any cache as it is.

    That layer is linear up to its GELU, so what its GroupNorm needs, the mean and variance over time of each channel,
    follows from the mean and covariance of the first kernel's samples: the norm becomes weights and a bias of its own
    for every utterance.
    """

    def __init__(self, plain: WaveformConv, precision: Precision):
        super().__init__()
        self.num_frames, self.dtype = plain.num_frames, dtype_of(precision)
        first, *others = plain.convs
        self.kernel, self.stride = first.kernel_size[0], first.stride[0]
        self.first = first.weight.detach()[:, 0].double()  # (C, K)
        self.group_norm = copy.deepcopy(plain.group_norm).double()
        self.convs = nn.Sequential(
            *(FusedConv(conv.weight, None, precision, stride=conv.stride[0], act="gelu") for conv in others)
        )
        self.norm = copy.deepcopy(plain.norm).to(self.dtype)
        self.projection = FusedConv(plain.projection.weight[:, :, None], plain.projection.bias, precision)

    @torch.autocast("cpu", enabled=False)
    def forward(self, wav: Tensor) -> Tensor:
        samples, weights = self._normed_first(wav)
        bias = self.group_norm.bias.to(self.dtype)
        rows = [
            self.convs(torch.ops.aten.gelu_(torch.addmm(bias, row, weight))[None])
            for row, weight in zip(samples, weights, strict=True)
        ]
        return self.projection(self.norm(torch.cat(rows)))  # (B, T, H)

    def _normed_first(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """What the first layer and its GroupNorm multiply: centred samples (B, T, K) and weights (B, K, C)."""
        samples = wav.unfold(1, self.kernel, self.stride).double()  # (B, T, K)
        samples = samples - samples.mean(1, keepdim=True)
        covariance = samples.transpose(1, 2) @ samples / samples.shape[1]  # (B, K, K)
        variance = (self.first @ covariance * self.first).sum(2)  # (B, C)
        scale = self.group_norm.weight * (variance + self.group_norm.eps).rsqrt()
        return samples.to(self.dtype), (self.first * scale[..., None]).transpose(1, 2).to(self.dtype)


def build(config: Config, *, hidden_dim: int) -> WaveformConv:
    """The frontend projecting to *hidden_dim* channels."""
    return WaveformConv(config, hidden_dim)
