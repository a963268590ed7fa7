"""What every backend offers: L+1 hidden states to one embedding."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Backend", "RunningBackend"]


class Backend(nn.Module):
    """L+1 hidden states (B, T, H) to embeddings (B, E), for any T.

    Attributes:
        embedding_dim: E.
        needs_wav: whether ``forward(hidden, wav)`` also takes the wav (B, N) that the hidden states are of; other
            backends take the hidden states alone.
    """

    embedding_dim: int
    needs_wav: bool = False


class RunningBackend(Backend):
    """A backend that pools over time by statistics that can be kept up frame by frame, for streaming."""

    def accumulate(self, hidden: Sequence[Tensor], statistics: list[Tensor] | None = None) -> list[Tensor]:
        """The statistics of all frames so far: those of *statistics* (None: none yet) and of *hidden* (B, T, H)."""
        raise NotImplementedError

    def embed_statistics(self, statistics: list[Tensor]) -> Tensor:
        """The embeddings (B, E) of the frames that *statistics* are of, as ``forward`` of all of them gives them."""
        raise NotImplementedError
