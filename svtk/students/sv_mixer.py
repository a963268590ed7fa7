"""SV-Mixer: an attention-free MLP student (arXiv 2509.14136, Section 2 and Figure 2).

Each block mixes along time (LGM, local-global mixing) and then along channels at two time scales
(MSM, multi-scale mixing) with grouped MLPs (GCM, group channel mixing). At ``hidden_dim`` 1024 and 149
frames a block has 3,745,969 parameters and 0.632 GMACs.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from svtk.onednn import Precision
from svtk.students._base import BlockStack, StudentConfig
from svtk.students._blocks import ChannelMLP, MixerBlock, TokenMLP
from svtk.students._fused import FusedScaleMixing, FusedTimeMixing

__all__ = ["Config", "SVMixer", "SVMixerBlock", "build"]


@dataclasses.dataclass(frozen=True)
class Config(StudentConfig):
    """Options of the SV-Mixer student; the defaults are the paper's.

    ``gcm``, ``lgm`` and ``msm`` are the ablation switches of the paper's Table II. GCM off puts one MLP
    over all channels (H → 4H → H) in place of the grouped MLPs and of the convolution and linear layer
    that join the groups; LGM off leaves the plain token MLP; MSM off leaves the full resolution. With all
    three off a block is that of MLP-Mixer.
    """

    group_dim: int = 128
    expansion: int = 4
    lgm: Literal["parallel", "sequential", "off"] = "parallel"
    msm: bool = True
    gcm: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gcm and self.hidden_dim % self.group_dim:
            raise ValueError(f"hidden_dim {self.hidden_dim} is not a multiple of group_dim {self.group_dim}")


class LocalGlobalMixing(nn.Module):
    """LGM: depthwise convolutions (local) and the token MLP (global), along time.

    ``parallel`` adds the two branches (the authors' code); ``sequential`` feeds a depthwise convolution
    of kernel 3 into the token MLP (the paper's Figure 2b); ``off`` is the token MLP alone.
    """

    def __init__(self, config: Config, num_frames: int):
        super().__init__()
        dim = config.hidden_dim
        self.mode = config.lgm
        self.token = TokenMLP(num_frames, config.expansion * num_frames)
        if self.mode == "parallel":
            self.local = nn.Sequential(
                nn.Conv1d(dim, dim, 7, padding=3, groups=dim), nn.GELU(), nn.Conv1d(dim, dim, 3, padding=1, groups=dim)
            )
        elif self.mode == "sequential":
            self.local = nn.Conv1d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        if self.mode == "parallel":
            return self._local(x) + self.token(x)
        return self.token(self._local(x) if self.mode == "sequential" else x)

    def _local(self, x: Tensor) -> Tensor:
        return self.local(x.transpose(1, 2)).transpose(1, 2)

    def fused(self, precision: Precision) -> nn.Module:
        return FusedTimeMixing(self, precision)


class GroupMLP(nn.Module):
    """GCM: an MLP per channel group, d → ed → d with d = H / G, as batched products over the groups."""

    def __init__(self, num_groups: int, group_dim: int, expansion: int):
        super().__init__()
        inner = expansion * group_dim
        self.num_groups = num_groups
        self.up_weight = nn.Parameter(torch.empty(num_groups, group_dim, inner))
        self.up_bias = nn.Parameter(torch.empty(num_groups, 1, inner))
        self.down_weight = nn.Parameter(torch.empty(num_groups, inner, group_dim))
        self.down_bias = nn.Parameter(torch.empty(num_groups, 1, group_dim))
        for weight, bias in ((self.up_weight, self.up_bias), (self.down_weight, self.down_bias)):
            bound = weight.shape[1] ** -0.5  # nn.Linear's initialisation, per group
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H); channel c belongs to group c // (H / G)."""
        batch, frames, dim = x.shape
        x = x.reshape(batch * frames, self.num_groups, -1).transpose(0, 1)  # (G, B*T, d)
        x = F.gelu(torch.baddbmm(self.up_bias, x, self.up_weight))  # (G, B*T, ed)
        x = torch.baddbmm(self.down_bias, x, self.down_weight)  # (G, B*T, d)
        return x.transpose(0, 1).reshape(batch, frames, dim)


class MultiScaleMixing(nn.Module):
    """MSM: a channel MLP at full and one at half time resolution, added; with GCM, then joined over groups.

    The half-resolution branch averages pairs of frames and interpolates back linearly
    (``align_corners=False``).
    """

    def __init__(self, config: Config):
        super().__init__()
        dim, groups = config.hidden_dim, config.hidden_dim // config.group_dim

        def channel_mlp() -> nn.Module:
            if config.gcm:
                return GroupMLP(groups, config.group_dim, config.expansion)
            return ChannelMLP(dim, config.expansion * dim)

        self.full_rate = channel_mlp()
        self.half_rate = channel_mlp() if config.msm else None
        self.group_conv = nn.Conv1d(dim, dim, 3, padding=1, groups=groups) if config.gcm else None
        self.join = nn.Linear(dim, dim) if config.gcm else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) to (B, T, H)."""
        y = self.full_rate(x)
        if self.half_rate is not None:
            coarse = F.avg_pool1d(x.transpose(1, 2), 2).transpose(1, 2)  # (B, T // 2, H)
            coarse = self.half_rate(coarse).transpose(1, 2)
            y = y + F.interpolate(coarse, size=x.shape[1], mode="linear", align_corners=False).transpose(1, 2)
        if self.group_conv is not None:
            y = self.join(F.gelu(self.group_conv(y.transpose(1, 2)).transpose(1, 2)))
        return y

    def fused(self, precision: Precision) -> nn.Module:
        return FusedScaleMixing(self, precision)


class SVMixerBlock(MixerBlock):
    """One block: x + LGM(LayerNorm(x)), then x + MSM(LayerNorm(x)); dropout before each residual sum.

    Args:
        config: options of the student.
        num_frames: T, fixed by the token MLP.
        last: the last block has no dropout after MSM.
    """

    def __init__(self, config: Config, num_frames: int, last: bool = False):
        lgm, msm = LocalGlobalMixing(config, num_frames), MultiScaleMixing(config)
        super().__init__(config.hidden_dim, lgm, msm, config.dropout, last)


class SVMixer(BlockStack):
    """L blocks and a final LayerNorm over projected frames.

    >>> student = SVMixer(Config(num_layers=2, hidden_dim=256), num_frames=75)
    >>> [tuple(h.shape) for h in student(torch.zeros(4, 75, 256))]
    [(4, 75, 256), (4, 75, 256), (4, 75, 256)]
    """

    def __init__(self, config: Config, num_frames: int):
        super().__init__(config, num_frames, lambda last: SVMixerBlock(config, num_frames, last))


def build(config: Config, *, num_frames: int) -> SVMixer:
    """The student for windows of *num_frames* frames of 20 ms."""
    return SVMixer(config, num_frames)
