"""The linear backend (PAPER, Table III): weighted sum of hidden states, pooling over time, one linear layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from svtk.backends._base import RunningBackend
from svtk.backends._layer_sum import LayerSum

__all__ = ["Config", "Linear", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options. ``pooling``: ``mean``, or ``stats`` for mean and standard deviation."""

    embedding_dim: int = 192
    pooling: Literal["mean", "stats"] = "stats"

    def __post_init__(self) -> None:
        if self.embedding_dim < 1:
            raise ValueError("embedding_dim must be positive")


class Linear(RunningBackend):
    """L+1 hidden states (B, T, H) to embeddings (B, E)."""

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.layer_sum = LayerSum(num_hidden)
        self.stats = config.pooling == "stats"
        pooled = hidden_dim * (2 if self.stats else 1)
        self.norm = nn.LayerNorm(pooled)
        self.linear = nn.Linear(pooled, config.embedding_dim)

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        x = self.layer_sum(hidden)  # (B, T, H)
        pooled = x.mean(1)
        if self.stats:
            variance = (x - pooled[:, None]).square().mean(1)
            pooled = torch.cat([pooled, (variance + 1e-6).sqrt()], dim=1)
        return self.linear(self.norm(pooled))

    def accumulate(self, hidden: Sequence[Tensor], statistics: list[Tensor] | None = None) -> list[Tensor]:
        """Number of frames (), mean and sum of squared deviations, (B, H) each (Chan et al., 1983)."""
        x = self.layer_sum(hidden)  # (B, T, H)
        mean = x.mean(1)
        count, squares = mean.new_tensor(x.shape[1]), (x - mean[:, None]).square().sum(1)
        if statistics is None:
            return [count, mean, squares]
        before, old_mean, old_squares = statistics
        total, moved = before + count, mean - old_mean
        return [
            total,
            old_mean + moved * (count / total),
            old_squares + squares + moved.square() * (before * count / total),
        ]

    def embed_statistics(self, statistics: list[Tensor]) -> Tensor:
        count, pooled, squares = statistics
        if self.stats:
            pooled = torch.cat([pooled, (squares / count + 1e-6).sqrt()], dim=1)
        return self.linear(self.norm(pooled))


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> Linear:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return Linear(config, num_hidden, hidden_dim)
