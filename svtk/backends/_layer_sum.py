"""The learned weighted sum over hidden states that backends pool (SUPERB; PAPER: backend)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from svtk.backends._base import Backend

__all__ = ["LayerSum", "SumBackend"]


class LayerSum(nn.Module):
    """Softmax-weighted sum of L+1 hidden states (B, T, H) to (B, T, H); equal weights at the start."""

    def __init__(self, num_hidden: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_hidden))

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        weights = self.logits.softmax(0)
        total = weights[0] * hidden[0]
        for weight, state in zip(weights[1:], hidden[1:], strict=True):
            total = total + weight * state
        return total


class SumBackend(Backend):
    """A backend over the normalised weighted sum of the hidden states.

    ``norm``: ``instance`` over time, as the authors' code has it, takes each channel's mean and variance over the
    utterance away; ``layer`` (LayerNorm over channels) leaves them to the backend, which needs them where the
    encoder has not already spread them over time (small encoders, short training).
    """

    def __init__(self, norm: Literal["instance", "layer"], num_hidden: int, hidden_dim: int):
        super().__init__()
        self.layer_sum = LayerSum(num_hidden)
        self.instance_norm = nn.InstanceNorm1d(hidden_dim) if norm == "instance" else None
        self.layer_norm = nn.LayerNorm(hidden_dim) if norm == "layer" else None

    def frames(self, hidden: Sequence[Tensor]) -> Tensor:
        """L+1 hidden states (B, T, H) to the normalised sum (B, T, H)."""
        x = self.layer_sum(hidden)
        if self.layer_norm is not None:
            return self.layer_norm(x)
        return self.instance_norm(x.transpose(1, 2)).transpose(1, 2)
