"""The ECAPA-TDNN backend (Desplanques et al., 2020), SpeechBrain's lobe, over the weighted sum of hidden states."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from torch import Tensor, nn

from svtk.backends._layer_sum import LayerSum

__all__ = ["Config", "EcapaTdnn", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are the paper's (512 channels, embedding 192).

    ``norm`` of the weighted sum: ``instance`` over time, as the authors' code has it, takes each channel's mean
    and variance over the utterance away; ``layer`` (LayerNorm over channels) leaves them to the backend, which
    needs them where the encoder has not already spread them over time (small encoders, short training).
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


class EcapaTdnn(nn.Module):
    """L+1 hidden states (B, T, H) to embeddings (B, E): weighted sum, normalisation, ECAPA-TDNN."""

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__()
        self.embedding_dim = config.embedding_dim
        self.layer_sum = LayerSum(num_hidden)
        self.instance_norm = nn.InstanceNorm1d(hidden_dim) if config.norm == "instance" else None
        self.layer_norm = nn.LayerNorm(hidden_dim) if config.norm == "layer" else None
        self.ecapa = ECAPA_TDNN(
            hidden_dim,
            lin_neurons=config.embedding_dim,
            channels=[config.channels] * 4 + [config.aggregate_channels],
            attention_channels=config.attention_channels,
            res2net_scale=config.res2net_scale,
            se_channels=config.se_channels,
        )

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        x = self.layer_sum(hidden)  # (B, T, H)
        if self.instance_norm is not None:
            x = self.instance_norm(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = self.layer_norm(x)
        return self.ecapa(x).squeeze(1)  # (B, E)


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> EcapaTdnn:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return EcapaTdnn(config, num_hidden, hidden_dim)
