from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from svtk.errors import ConfigError
from svtk.registry import configure
from svtk.students.conv_mixer import Config, ConvMixerBlock


def test_the_counts_of_the_docstring():
    with torch.device("meta"):
        block = ConvMixerBlock(Config(), 149)
    assert sum(p.numel() for p in block.parameters()) == 8_997_917
    assert (block.mixer.time_mixing.up.out_features, block.mixer.channel_mixing[0].out_features) == (552, 3792)


def test_a_block_in_single_steps():
    torch.manual_seed(6)
    block = ConvMixerBlock(Config(hidden_dim=6, kernel=3, expansion=2), 5).eval()
    x = torch.randn(2, 5, 6)
    convolved = torch.zeros_like(x)
    for t in range(5):
        for tap in range(3):
            if 0 <= t + tap - 1 < 5:
                convolved[:, t] += block.depthwise.weight[:, 0, tap] * x[:, t + tap - 1]
    y = block.norm(convolved @ block.pointwise.weight.T)
    y = y * y.sigmoid()
    token, (up, _, down) = block.mixer.time_mixing, block.mixer.channel_mixing
    z = block.mixer.time_norm(y).transpose(1, 2)  # (B, H, T)
    y = y + token.down(F.gelu(token.up(z))).transpose(1, 2)
    y = y + down(F.gelu(up(block.mixer.channel_norm(y))))
    torch.testing.assert_close(block(x), x + y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kernel": 4}, "kernel must be odd"), ({"expansion": 0}, "expansion must be positive")],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        configure("students", {"name": "conv_mixer", **options})
