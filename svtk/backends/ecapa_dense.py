"""ECAPA-TDNN with sums of all layers before each block (Desplanques et al., 2020), as the SV-Mixer authors release it.

Beside :mod:`svtk.backends.ecapa_tdnn`, SpeechBrain's: each block hears the sum of the stem's and all earlier blocks'
outputs, borders are padded with zeros, Res2Net steps take the first parts and pass the last one on, the embedding is
batch-normed, and the weights of the hidden states are free, not a softmax.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from svtk.backends._base import Backend

__all__ = ["Config", "EcapaDense", "build"]

_DILATIONS = (2, 3, 4)
_LEAST = 1e-4  # a variance is taken to be at least this


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the authors'."""

    channels: int = 512
    aggregate_channels: int = 1536
    attention_channels: int = 256
    res2net_scale: int = 4
    se_channels: int = 128
    embedding_dim: int = 192

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 1:
            raise ValueError("every size must be positive")
        if self.channels % self.res2net_scale or self.res2net_scale < 2:
            raise ValueError(f"channels {self.channels} do not make res2net_scale {self.res2net_scale} >= 2 parts")


def _layer(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel // 2))
    return nn.Sequential(conv, nn.ReLU(), nn.BatchNorm1d(outputs))


class _Block(nn.Module):
    """Res2Net with squeeze and excitation and a residual, (B, C, T) to (B, C, T)."""

    def __init__(self, config: Config, dilation: int):
        super().__init__()
        channels, self.scale = config.channels, config.res2net_scale
        width = channels // self.scale
        self.reduce = _layer(channels, channels)
        self.steps = nn.ModuleList(_layer(width, width, 3, dilation) for _ in range(self.scale - 1))
        self.expand = _layer(channels, channels)
        self.gate = nn.Sequential(
            nn.Conv1d(channels, config.se_channels, 1),
            nn.ReLU(),
            nn.Conv1d(config.se_channels, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *middle, last = self.reduce(x).chunk(self.scale, dim=1)
        done = [self.steps[0](first)]
        for part, step in zip(middle, self.steps[1:], strict=True):
            done.append(step(done[-1] + part))
        y = self.expand(torch.cat([*done, last], dim=1))
        return x + y * self.gate(y.mean(2, keepdim=True))


class EcapaDense(Backend):
    """L+1 hidden states (B, T, H) to embeddings (B, E): weighted sum, instance norm, ECAPA-TDNN, attentive pooling."""

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__()
        self.embedding_dim, wide = config.embedding_dim, config.aggregate_channels
        self.layer_weights = nn.Parameter(torch.full((num_hidden,), 1 / num_hidden))
        self.instance_norm = nn.InstanceNorm1d(hidden_dim)
        self.stem = _layer(hidden_dim, config.channels, 5)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in _DILATIONS)
        self.aggregate = nn.Conv1d(len(_DILATIONS) * config.channels, wide, 1)
        self.attention = nn.Sequential(
            *_layer(3 * wide, config.attention_channels), nn.Tanh(), nn.Conv1d(config.attention_channels, wide, 1)
        )
        self.pooled_norm = nn.BatchNorm1d(2 * wide)
        self.linear = nn.Linear(2 * wide, config.embedding_dim)
        self.embedding_norm = nn.BatchNorm1d(config.embedding_dim)

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        total = self.layer_weights[0] * hidden[0]
        for weight, state in zip(self.layer_weights[1:], hidden[1:], strict=True):
            total = total + weight * state
        heard = self.stem(self.instance_norm(total.transpose(1, 2)))  # (B, C, T): of stem and blocks so far
        outputs = []
        for block in self.blocks:
            outputs.append(block(heard))
            heard = heard + outputs[-1]
        frames = self.aggregate(torch.cat(outputs, dim=1)).relu()  # (B, A, T)
        return self.embedding_norm(self.linear(self.pooled_norm(self._pool(frames))))

    def _pool(self, x: Tensor) -> Tensor:
        """Mean and deviation under attention that knows those without, (B, A, T) to (B, 2 A)."""
        plain = (x.mean(2, keepdim=True), x.var(2, keepdim=True).clamp(min=_LEAST).sqrt())
        weights = self.attention(torch.cat([x, *(value.expand_as(x) for value in plain)], dim=1)).softmax(2)
        mean = (x * weights).sum(2)
        deviation = ((x**2 * weights).sum(2) - mean**2).clamp(min=_LEAST).sqrt()
        return torch.cat([mean, deviation], dim=1)


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> EcapaDense:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return EcapaDense(config, num_hidden, hidden_dim)
