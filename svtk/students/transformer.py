"""The Transformer student that SV-Mixer is compared with (arXiv 2509.14136, Table I).

Standard encoder layers; at ``hidden_dim`` 1024 and ``ffn_dim`` 2048 a layer has 8,399,872 parameters.
The paper's students have no positional encoding (the convolutional frontend carries order), so that is the
default here; where the paper is silent (pre- or post-norm) pre-norm is the default, because it trains
without warm-up.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor, nn

from svtk.students._base import StudentConfig

__all__ = ["Config", "TransformerStudent", "build"]


@dataclasses.dataclass(frozen=True)
class Config(StudentConfig):
    """Options of the Transformer student; the defaults are the paper's sizes."""

    ffn_dim: int = 2048
    num_heads: int = 16
    norm_first: bool = True
    positions: Literal["none", "sinusoidal"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % self.num_heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} is not a multiple of num_heads {self.num_heads}")


def sinusoids(num_frames: int, dim: int) -> Tensor:
    """Sinusoidal position encodings (T, H) (Vaswani et al., 2017, Section 3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))  # (ceil(H / 2),)
    angles = torch.arange(num_frames)[:, None] * rates  # (T, ceil(H / 2))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


class TransformerStudent(nn.Module):
    """L Transformer layers and a final LayerNorm over projected frames.

    >>> student = TransformerStudent(Config(num_layers=2, hidden_dim=64, ffn_dim=128, num_heads=4), num_frames=75)
    >>> [tuple(h.shape) for h in student(torch.zeros(4, 75, 64))]
    [(4, 75, 64), (4, 75, 64), (4, 75, 64)]
    """

    def __init__(self, config: Config, num_frames: int):
        super().__init__()
        self.num_frames = num_frames
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden_dim,
                config.num_heads,
                config.ffn_dim,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=config.norm_first,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_dim)
        positions = sinusoids(num_frames, config.hidden_dim) if config.positions == "sinusoidal" else None
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Projected frames (B, T, H) to L+1 hidden states (B, T, H), as :class:`svtk.students._base.BlockStack`."""
        hidden = [x]
        if self.positions is not None:
            x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
            hidden.append(x)
        hidden[-1] = self.norm(hidden[-1])
        return hidden


def build(config: Config, *, num_frames: int) -> TransformerStudent:
    """The student for windows of *num_frames* frames of 20 ms."""
    return TransformerStudent(config, num_frames)
