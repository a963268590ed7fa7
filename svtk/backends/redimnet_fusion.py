"""Spectrogram and hidden states in one ReDimNet, stage by stage: the idea of SSRFNet ("Stage-wise SV-Mixer and
ReDimNet Fusion Network for Speaker Verification", by SV-Mixer's authors; 0.601 % EER on Vox1-O, where the
same encoder without fusion has 0.935).

The spectrogram is the main input: 80-band log-mel, a convolution over 5 frames of 10 ms with stride 2, which makes
them frames of 20 ms, and InstanceNorm over time. Into each of the first stages goes one map made of the hidden
states: ``merge_layers`` neighbouring ones are summed with learned weights per channel (the windows are spread evenly
over states 1 to L; state 0 is left out) and brought to ReDimNet's volume by a convolution over 5 frames and LayerNorm
over channels. As in the authors' release, except for its Gaussian noise on the spectrogram in training, and for the
log-mel itself, which is svtk's one (Whisper's; the InstanceNorm takes levels out of either).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from svtk.backends._base import Backend
from svtk.backends._redimnet import SIZES, ChannelNorm, ChannelSum, EmbeddingHead, Layout, ReDimNet, Size
from svtk.data.features import LogMel
from svtk.errors import ModelError

__all__ = ["Config", "ReDimNetFusion", "build"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; the defaults are SSRFNet's.

    ``size`` is one of the published layouts (:data:`svtk.backends._redimnet.SIZES`), ``layout`` another in its
    place; ``num_injected`` is the number of stages that hidden states go into.
    """

    size: Size = "ssrf"
    layout: Layout | None = None
    num_injected: int = 4
    merge_layers: int = 4
    num_mels: int = 80
    embedding_dim: int = 192

    def __post_init__(self) -> None:
        if min(self.num_injected, self.merge_layers, self.num_mels, self.embedding_dim) < 1:
            raise ValueError("num_injected, merge_layers, num_mels and embedding_dim must be positive")
        stages = len((self.layout or SIZES[self.size]).stages)
        if self.num_injected > stages:
            raise ValueError(f"num_injected {self.num_injected} is more than there are stages, {stages}")


class HiddenMap(nn.Module):
    """Neighbouring hidden states, each (B, T, H), to one map (B, F · C, T)."""

    def __init__(self, num_states: int, hidden_dim: int, volume: int):
        super().__init__()
        self.sum = ChannelSum(num_states, hidden_dim)
        self.conv = nn.Conv1d(hidden_dim, volume, 5, padding=2)
        self.norm = ChannelNorm(volume)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return self.norm(self.conv(self.sum([state.transpose(1, 2) for state in states])))


class ReDimNetFusion(Backend):
    """L+1 hidden states (B, T, H) and their wav (B, N) to embeddings (B, E).

    Frame t of the spectrogram sees samples around 320 t + 160, frame t of a waveform encoder those around
    320 t + 200, of a log-mel encoder those around 320 t: at most 10 ms apart. Where one side has a frame or two
    more at the end, they are left out.
    """

    needs_wav = True

    def __init__(self, config: Config, num_hidden: int, hidden_dim: int):
        super().__init__()
        layout = config.layout or SIZES[config.size]
        self.embedding_dim = config.embedding_dim
        self.log_mel = LogMel(config.num_mels)
        self.spectrogram_conv = nn.Conv1d(config.num_mels, layout.volume, 5, stride=2, padding=1)
        self.spectrogram_norm = nn.InstanceNorm1d(layout.volume)
        self.merge_layers = min(config.merge_layers, num_hidden - 1)
        self.first_layers = (
            torch.linspace(1, num_hidden - self.merge_layers, config.num_injected).round().int().tolist()
        )
        self.hidden_maps = nn.ModuleList(
            HiddenMap(self.merge_layers, hidden_dim, layout.volume) for _ in self.first_layers
        )
        self.body = ReDimNet(layout, config.num_injected)
        self.head = EmbeddingHead(layout.volume, config.embedding_dim)

    def forward(self, hidden: Sequence[Tensor], wav: Tensor) -> Tensor:
        """Raises ModelError unless *hidden* and *wav* are of one length."""
        x = self.spectrogram_norm(self.spectrogram_conv(self.log_mel(wav)))  # (B, F · C, T)
        frames = min(x.shape[2], hidden[0].shape[1])
        if max(x.shape[2], hidden[0].shape[1]) - frames > 2:
            raise ModelError(
                "the hidden states are not of this wav",
                found=f"{hidden[0].shape[1]} frames",
                expected=f"about {x.shape[2]}",
            )
        states = [state[:, :frames] for state in hidden]
        windows = (states[first : first + self.merge_layers] for first in self.first_layers)
        maps = [to_map(window) for to_map, window in zip(self.hidden_maps, windows, strict=True)]
        return self.head(self.body(x[..., :frames], maps))


def build(config: Config, *, num_hidden: int, hidden_dim: int) -> ReDimNetFusion:
    """The backend over *num_hidden* hidden states of *hidden_dim* channels."""
    return ReDimNetFusion(config, num_hidden, hidden_dim)
