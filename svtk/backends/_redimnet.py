"""The body of ReDimNet (Yakovlev et al., "Reshape Dimensions Network for Speaker Recognition", Interspeech 2024).

Feature maps have one volume throughout, F · C per frame, seen now as 2D (B, C, F, T) and now as 1D (B, F · C, T).
A stage sums all maps before it with learned weights, halves (or thirds) the frequencies while channels grow by
as much, convolves in 2D, and then mixes over time in 1D. Sizes, kernels and orders are those of the paper's
release; GELU is exact where that has the tanh approximation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch
from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
from torch import Tensor, nn

__all__ = [
    "SIZES",
    "ChannelNorm",
    "ChannelSum",
    "EmbeddingHead",
    "Layout",
    "ReDimNet",
    "Size",
    "Stage",
    "to_1d",
    "to_2d",
]

_HEADS = 4
_TIME_KERNELS = (7, 19, 31, 59)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        stride: frequencies are divided, and channels multiplied, by this.
        num_blocks: 2D blocks.
        expansion: the 2D blocks are this many times as wide as the stage's channels.
        reduction: the time mixing has F · C / reduction channels; None: there is none.
    """

    stride: int = 1
    num_blocks: int = 2
    expansion: int = 1
    reduction: int | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of a ReDimNet.

    Attributes:
        frequencies, channels: F and C of the first map.
        block: of the 2D convolutions, ``resnet`` (two convolutions) or ``convnext`` (one).
        group_channels: channels in a group of the 3 × 3 convolutions; 1: depthwise.
        stages: one after the other.
    """

    frequencies: int
    channels: int
    stages: tuple[Stage, ...]
    block: Literal["resnet", "convnext"] = "convnext"
    group_channels: int = 1

    def __post_init__(self) -> None:
        numbers = [n for stage in self.stages for n in dataclasses.astuple(stage) if n is not None]
        if not self.stages or min(self.frequencies, self.channels, self.group_channels, *numbers) < 1:
            raise ValueError("a layout needs stages, and every size must be positive")
        if self.frequencies % math.prod(stage.stride for stage in self.stages):
            raise ValueError(f"the strides do not divide {self.frequencies} frequencies")
        channels = self.channels
        for stage in self.stages:
            channels *= stage.stride
            for width in (channels, channels * stage.expansion):
                if width % self.groups(width):
                    raise ValueError(f"{width} channels cannot be grouped by group_channels {self.group_channels}")
            if stage.reduction is not None and self.volume % (stage.reduction * _HEADS):
                raise ValueError(f"{self.volume} / reduction {stage.reduction} is not a multiple of {_HEADS} heads")

    @property
    def volume(self) -> int:
        """F · C, values per frame of every map."""
        return self.frequencies * self.channels

    def groups(self, channels: int) -> int:
        """Groups of a 3 × 3 convolution of so many channels; one where there are fewer than in a group."""
        return max(1, channels // self.group_channels)


Size = Literal["b0", "b1", "b2", "ssrf"]

#: b0 to b2 of the paper (published with 1.0, 2.2 and 4.7 M parameters on a spectrogram; here 1.00, 2.13 and 4.89 M),
#: and that of SSRFNet's release, whose volume is 1024
SIZES: dict[str, Layout] = {
    "b0": Layout(
        frequencies=60,
        channels=10,
        stages=(Stage(1, 2, 1, 30), Stage(2, 3, 2, 30), Stage(1, 3, 3, 30), Stage(2, 4, 2, 10), Stage(1, 3, 1, 10)),
        block="resnet",
    ),
    "b1": Layout(
        frequencies=72,
        channels=12,
        stages=(Stage(1, 2), Stage(2, 3), Stage(3, 4, 1, 12), Stage(2, 5, 1, 12), Stage(2, 3, 1, 8)),
        group_channels=8,
    ),
    "b2": Layout(
        frequencies=72,
        channels=16,
        stages=(
            *(Stage(1, 2, 1, 12), Stage(2, 2, 1, 12), Stage(1, 3, 1, 12)),
            *(Stage(2, 4, 1, 8), Stage(1, 4, 1, 8), Stage(2, 4, 1, 4)),
        ),
        group_channels=4,
    ),
    "ssrf": Layout(
        frequencies=64,
        channels=16,
        stages=(
            *(Stage(1, 2, 1, 16), Stage(2, 2, 1, 16), Stage(1, 3, 1, 8)),
            *(Stage(2, 4, 1, 8), Stage(1, 4, 1, 8), Stage(2, 4, 1, 4)),
        ),
        group_channels=4,
    ),
}


def to_1d(x: Tensor) -> Tensor:
    """(B, C, F, T) to (B, F · C, T), the channels of a frequency side by side."""
    return x.transpose(1, 2).flatten(1, 2)


def to_2d(x: Tensor, frequencies: int) -> Tensor:
    """(B, F · C, T) to (B, C, F, T), the inverse of :func:`to_1d`."""
    return x.unflatten(1, (frequencies, -1)).transpose(1, 2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels, dimension 1, of (B, C, T) or (B, C, F, T)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelSum(nn.Module):
    """N maps (B, C, T) to their sum (B, C, T), weighted by a softmax over the maps for each channel by itself."""

    def __init__(self, num_maps: int, channels: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_maps, channels, 1)) if num_maps > 1 else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        if self.logits is None:
            [only] = maps
            return only
        weights = self.logits.softmax(0)
        return sum(weight * x for weight, x in zip(weights, maps, strict=True))


class ConvNextBlock(nn.Module):
    """Grouped convolution, batch norm, GELU, pointwise convolution, residual; over (B, C, T) or (B, C, F, T)."""

    def __init__(self, channels: int, kernel: int, groups: int, dims: int):
        super().__init__()
        conv = nn.Conv1d if dims == 1 else nn.Conv2d
        self.conv = conv(channels, channels, kernel, padding="same", groups=groups)
        self.norm = (nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d)(channels)
        self.pointwise = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(nn.functional.gelu(self.norm(self.conv(x))))


class ResNetBlock(nn.Module):
    """Two grouped 3 × 3 convolutions, each followed by a pointwise one, with batch norm, ReLU and a residual."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.pointwise1 = nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.pointwise2 = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm1(self.pointwise1(self.conv1(x)).relu())
        return (x + self.norm2(self.pointwise2(self.conv2(out)))).relu()


class TimeMixing(nn.Module):
    """1D: down to fewer channels, long depthwise convolutions, self-attention over time, up again; residual."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.reduce = nn.Conv1d(channels, width, 1)
        self.norm = ChannelNorm(width)
        self.convs = nn.Sequential(*(ConvNextBlock(width, kernel, width, 1) for kernel in _TIME_KERNELS))
        self.attention = nn.TransformerEncoderLayer(
            width, _HEADS, width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True
        )
        self.expand = nn.Conv1d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.convs(self.norm(self.reduce(x)))  # (B, width, T)
        out = self.attention(out.transpose(1, 2)).transpose(1, 2)
        return x + self.expand(out)


class StageBlocks(nn.Module):
    """One stage: N maps (B, F · C, T), f frequencies of each at this depth, to the next map (B, F · C, T)."""

    def __init__(self, layout: Layout, stage: Stage, num_maps: int, frequencies: int):
        super().__init__()
        self.frequencies = frequencies
        before = layout.volume // frequencies
        after = before * stage.stride
        wide = after * stage.expansion
        self.sum = ChannelSum(num_maps, layout.volume)
        self.down = nn.Conv2d(before, wide, (stage.stride, 1), (stage.stride, 1))
        groups = layout.groups(wide)
        self.blocks = nn.Sequential(
            *(
                ResNetBlock(wide, groups) if layout.block == "resnet" else ConvNextBlock(wide, 3, groups, 2)
                for _ in range(stage.num_blocks)
            )
        )
        self.squeeze = None
        if stage.expansion > 1:
            self.squeeze = nn.Sequential(
                nn.Conv2d(wide, after, 3, padding=1, groups=layout.groups(after)),
                nn.BatchNorm2d(after, eps=1e-6),
                nn.GELU(),
                nn.Conv2d(after, after, 1),
            )
        self.time_mixing = None
        if stage.reduction is not None:
            self.time_mixing = TimeMixing(layout.volume, layout.volume // stage.reduction)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = self.blocks(self.down(to_2d(self.sum(maps), self.frequencies)))  # (B, wide, f / stride, T)
        if self.squeeze is not None:
            x = self.squeeze(x)
        x = to_1d(x)
        return x if self.time_mixing is None else self.time_mixing(x)


class ReDimNet(nn.Module):
    """A map (B, F · C, T) through all stages to the weighted sum of all maps (B, F · C, T).

    Args:
        layout: sizes.
        num_injected: so many stages, the first ones, are each given one further map (B, F · C, T).
    """

    def __init__(self, layout: Layout, num_injected: int = 0):
        super().__init__()
        num_maps, frequencies = 1, layout.frequencies
        self.stages = nn.ModuleList()
        for index, stage in enumerate(layout.stages):
            num_maps += index < num_injected
            self.stages.append(StageBlocks(layout, stage, num_maps, frequencies))
            num_maps += 1
            frequencies //= stage.stride
        self.sum = ChannelSum(num_maps, layout.volume)

    def forward(self, x: Tensor, injected: Sequence[Tensor] = ()) -> Tensor:
        maps = [x]
        for index, stage in enumerate(self.stages):
            maps.extend(injected[index : index + 1])
            maps.append(stage(maps))
        return self.sum(maps)


class EmbeddingHead(nn.Module):
    """Frames (B, C, T) to embeddings (B, E): attentive statistics (SpeechBrain's), batch norm, linear layer."""

    def __init__(self, channels: int, embedding_dim: int):
        super().__init__()
        self.pool = AttentiveStatisticsPooling(channels)
        self.norm = nn.BatchNorm1d(2 * channels)
        self.linear = nn.Linear(2 * channels, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(self.pool(x).squeeze(2)))
