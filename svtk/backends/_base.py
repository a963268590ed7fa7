"""What every backend offers: L+1 hidden states to one embedding."""

from __future__ import annotations

from torch import nn

__all__ = ["Backend"]


class Backend(nn.Module):
    """L+1 hidden states (B, T, H) to embeddings (B, E), for any T.

    Attributes:
        embedding_dim: E.
        needs_wav: whether ``forward(hidden, wav)`` also takes the wav (B, N) that the hidden states are of; other
            backends take the hidden states alone.
    """

    embedding_dim: int
    needs_wav: bool = False
