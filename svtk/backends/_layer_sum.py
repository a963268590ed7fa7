"""The learned weighted sum over hidden states that backends pool (SUPERB; PAPER: backend)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["LayerSum"]


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
