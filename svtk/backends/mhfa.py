"""Multi-head factorised attentive pooling (Peng et al., "An attention-based backend allowing efficient
fine-tuning of transformer models for speaker verification", SLT 2022).

Keys and values are two differently weighted sums of the hidden states, each compressed by a linear layer;
every head weighs the frames by its own softmax over the keys, and all heads share the values. The defaults are
the published ones: 64 heads, compression to 128, embedding 256.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from svtk.backends._base import RunningBackend
from svtk.backends._layer_sum import LayerSum

__all__ = ["Config", "Mhfa", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; ``compression_dim`` is the width of keys and values."""

    num_heads: int = 64
    compression_dim: int = 128
    embedding_dim: int = 256

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 1:
            raise ValueError("every size must be positive")


class Mhfa(RunningBackend):
    """L+1 hidden states (B, T, H) to embeddings (B, E).

    The published layers, without the biases of the keys and of the attention: they move all frames alike, and
    the softmax over frames takes them out again.
    """

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.key_sum, self.value_sum = LayerSum(num_hidden), LayerSum(num_hidden)
        self.key = nn.Linear(hidden_dim, config.compression_dim, bias=False)
        self.value = nn.Linear(hidden_dim, config.compression_dim)
        self.attention = nn.Linear(config.compression_dim, config.num_heads, bias=False)
        self.linear = nn.Linear(config.num_heads * config.compression_dim, config.embedding_dim)

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        weights = self.attention(self.key(self.key_sum(hidden))).softmax(1)  # (B, T, heads)
        values = self.value(self.value_sum(hidden))  # (B, T, D)
        pooled = weights.transpose(1, 2) @ values  # (B, heads, D)
        return self.linear(pooled.flatten(1))  # (B, E)

    def accumulate(self, hidden: Sequence[Tensor], statistics: list[Tensor] | None = None) -> list[Tensor]:
        """Of each head, the largest key so far and, relative to it, the sums of weights and of weighted values.

        (B, heads), (B, heads), (B, heads, D).
        """
        keys = self.attention(self.key(self.key_sum(hidden)))  # (B, T, heads)
        values = self.value(self.value_sum(hidden))  # (B, T, D)
        largest = keys.amax(1)
        if statistics is not None:
            largest = torch.maximum(largest, statistics[0])
        weights = (keys - largest[:, None]).exp()
        total, pooled = weights.sum(1), weights.transpose(1, 2) @ values
        if statistics is not None:
            scale = (statistics[0] - largest).exp()
            total, pooled = total + scale * statistics[1], pooled + scale[..., None] * statistics[2]
        return [largest, total, pooled]

    def embed_statistics(self, statistics: list[Tensor]) -> Tensor:
        _, total, pooled = statistics
        return self.linear((pooled / total[..., None]).flatten(1))


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> Mhfa:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return Mhfa(config, num_hidden, hidden_dim)
