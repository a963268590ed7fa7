"""MLP-Mixer (Tolstikhin et al., NeurIPS 2021, equation 1), a student of SV-Mixer's Table I (arXiv 2509.14136).

A block is a token MLP T → 4T → T, shared over channels, and a channel MLP H → 4H → H: what SV-Mixer is with
its three modules switched off (Table II, "none"). Where vision models shrink the token MLP (to H/2), SV-Mixer's paper
has 4T, and its counts say so: at H = 1024, T = 149,

    parameters  8 H² + 5 H  +  8 T² + 5 T  +  4 H (two LayerNorms)  =  8,576,177   (Table I: 8.58 M)
    MACs        8 T H²  +  8 H T²                                   =  1.432 G     (Table I: 1.43)
"""

from __future__ import annotations

import dataclasses

from svtk.students._base import BlockStack, StudentConfig
from svtk.students._blocks import ChannelMLP, MixerBlock, TokenMLP

__all__ = ["Config", "build"]


@dataclasses.dataclass(frozen=True)
class Config(StudentConfig):
    """Options; the defaults are the paper's. ``expansion`` is that of both MLPs."""

    expansion: int = 4


def build(config: Config, *, num_frames: int) -> BlockStack:
    """The student for windows of *num_frames* frames of 20 ms."""

    def block(last: bool) -> MixerBlock:
        token = TokenMLP(num_frames, config.expansion * num_frames)
        channel = ChannelMLP(config.hidden_dim, config.expansion * config.hidden_dim)
        return MixerBlock(config.hidden_dim, token, channel, config.dropout, last)

    return BlockStack(config, num_frames, block)
