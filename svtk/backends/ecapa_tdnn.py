"""The ECAPA-TDNN backend (Desplanques et al., 2020), SpeechBrain's lobe, over the weighted sum of hidden states."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from torch import Tensor

from svtk.backends._layer_sum import SumBackend

__all__ = ["Config", "EcapaTdnn", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's (512 channels, embedding 192).

    ``norm`` of the weighted sum: as :class:`svtk.backends._layer_sum.SumBackend` has it.
    """

    norm: Literal["instance", "layer"] = "instance"
    channels: int = 512
    aggregate_channels: int = 1536
    attention_channels: int = 128
    res2net_scale: int = 8
    se_channels: int = 128
    embedding_dim: int = 192

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)[1:]) < 1:
            raise ValueError("every size must be positive")
        if self.channels % self.res2net_scale:
            raise ValueError(f"channels {self.channels} is not a multiple of res2net_scale {self.res2net_scale}")


class EcapaTdnn(SumBackend):
    """L+1 hidden states (B, T, H) to embeddings (B, E): weighted sum, normalisation, ECAPA-TDNN."""

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__(config.norm, num_hidden, hidden_dim)
        self.embedding_dim = config.embedding_dim
        self.ecapa = ECAPA_TDNN(
            hidden_dim,
            lin_neurons=config.embedding_dim,
            channels=[config.channels] * 4 + [config.aggregate_channels],
            attention_channels=config.attention_channels,
            res2net_scale=config.res2net_scale,
            se_channels=config.se_channels,
        )

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.ecapa(self.frames(hidden)).squeeze(1)  # (B, E)


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> EcapaTdnn:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return EcapaTdnn(config, num_hidden, hidden_dim)
