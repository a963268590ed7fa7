"""The ReDimNet backend (PAPER, Table III; Yakovlev et al., Interspeech 2024) over the weighted sum of hidden states.

The paper says no more than that ReDimNet takes the hidden states. Here their weighted sum is normalised, brought
to ReDimNet's volume F · C by a linear layer where H is another (at H = 1024 and the size ``ssrf`` it is not), and
read as a map of F frequencies and C channels, which goes through the stem of the authors' later code: a 3 × 3
convolution and LayerNorm over channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from svtk.backends._layer_sum import SumBackend
from svtk.backends._redimnet import SIZES, ChannelNorm, EmbeddingHead, Layout, ReDimNet, Size, to_1d, to_2d

__all__ = ["Config", "ReDimNetBackend", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    ``size`` is one of the published layouts (:data:`svtk.backends._redimnet.SIZES`), ``layout`` another in its
    place; ``norm`` of the weighted sum is as :class:`svtk.backends._layer_sum.SumBackend` has it.
    """

    size: Size = "ssrf"
    layout: Layout | None = None
    norm: Literal["instance", "layer"] = "instance"
    embedding_dim: int = 192

    def __post_init__(self) -> None:
        if self.embedding_dim < 1:
            raise ValueError("embedding_dim must be positive")


class ReDimNetBackend(SumBackend):
    """L+1 hidden states (B, T, H) to embeddings (B, E)."""

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__(config.norm, num_hidden, hidden_dim)
        layout = config.layout or SIZES[config.size]
        self.embedding_dim, self.frequencies = config.embedding_dim, layout.frequencies
        self.projection = nn.Linear(hidden_dim, layout.volume) if hidden_dim != layout.volume else nn.Identity()
        self.stem = nn.Conv2d(layout.channels, layout.channels, 3, padding=1)
        self.stem_norm = ChannelNorm(layout.channels)
        self.body = ReDimNet(layout)
        self.head = EmbeddingHead(layout.volume, config.embedding_dim)

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        x = self.projection(self.frames(hidden)).transpose(1, 2)  # (B, F · C, T)
        x = to_1d(self.stem_norm(self.stem(to_2d(x, self.frequencies))))
        return self.head(self.body(x))


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> ReDimNetBackend:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return ReDimNetBackend(config, num_hidden, hidden_dim)
