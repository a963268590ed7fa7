"""The log-mel frontend, for students of a teacher that has one (Whisper): log-mel, 2 convolutions, projection."""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.data.features import LogMel
from svtk.onednn import FusedConv, Precision, dtype_of

__all__ = ["Config", "LogMelConv", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; ``channels`` is the width of both convolutions."""

    num_mels: int = 80
    channels: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.num_mels, self.channels) < 1:
            raise ValueError("num_mels and channels must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


class LogMelConv(nn.Module):
    """wav (B, N) to projected frames (B, T, H); T = 150 for 3 s.

    Whisper's log-mel and its two convolutions of kernel 3 (the second of stride 2) with GELU, then
    LayerNorm, Linear to H and dropout, as in the waveform frontend.
    """

    def __init__(self, config: Config, hidden_dim: int):
        super().__init__()
        self.log_mel = LogMel(config.num_mels)
        self.conv1 = nn.Conv1d(config.num_mels, config.channels, 3, padding=1)
        self.conv2 = nn.Conv1d(config.channels, config.channels, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(config.channels)
        self.projection = nn.Linear(config.channels, hidden_dim)
        self.dropout = nn.Dropout(config.dropout)

    def num_frames(self, num_samples: int) -> int:
        """Frames that *num_samples* samples give."""
        return (num_samples // LogMel.hop + 1) // 2

    def forward(self, wav: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(self.log_mel(wav)))))  # (B, C, T)
        return self.dropout(self.projection(self.norm(x.transpose(1, 2))))

    def fused(self, precision: Precision) -> FusedLogMelConv:
        """For inference on CPUs, computing in *precision*; the log-mel stays in float32."""
        return FusedLogMelConv(self, precision)


class FusedLogMelConv(nn.Module):
    """A :class:`LogMelConv` for inference on CPUs: (B, T, C) throughout, GELU in the convolutions."""

    def __init__(self, plain: LogMelConv, precision: Precision):
        super().__init__()
        self.num_frames, self.dtype = plain.num_frames, dtype_of(precision)
        self.log_mel = copy.deepcopy(plain.log_mel)
        self.convs = nn.Sequential(
            *(
                FusedConv(conv.weight, conv.bias, precision, stride=conv.stride[0], padding=1, act="gelu")
                for conv in (plain.conv1, plain.conv2)
            )
        )
        self.norm = copy.deepcopy(plain.norm).to(self.dtype)
        self.projection = FusedConv(plain.projection.weight[:, :, None], plain.projection.bias, precision)

    @torch.autocast("cpu", enabled=False)
    def forward(self, wav: Tensor) -> Tensor:
        mel = self.log_mel(wav).transpose(1, 2).to(self.dtype).contiguous()  # (B, frames, M)
        return self.projection(self.norm(self.convs(mel)))


def build(config: Config, *, hidden_dim: int) -> LogMelConv:
    """The frontend projecting to *hidden_dim* channels."""
    return LogMelConv(config, hidden_dim)
