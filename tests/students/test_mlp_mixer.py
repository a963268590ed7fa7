from __future__ import annotations

import dataclasses

import torch

from svtk.students import mlp_mixer, sv_mixer
from svtk.students.mlp_mixer import Config, build

SMALL = Config(num_layers=3, hidden_dim=20, expansion=3)


def test_the_papers_size():
    with torch.device("meta"):
        [block] = build(Config(num_layers=1), num_frames=149).blocks
    assert sum(p.numel() for p in block.parameters()) == 8_576_177


def test_it_is_sv_mixer_with_everything_off():
    off = sv_mixer.Config(**dataclasses.asdict(SMALL), lgm="off", msm=False, gcm=False)
    theirs, ours = sv_mixer.build(off, num_frames=7).eval(), mlp_mixer.build(SMALL, num_frames=7).eval()
    renamed = {
        key.replace("time_mixing.token.", "time_mixing.").replace("channel_mixing.full_rate.", "channel_mixing."): value
        for key, value in theirs.state_dict().items()
    }
    ours.load_state_dict(renamed, strict=True)
    x = torch.randn(2, 7, 20)
    for found, expected in zip(ours(x), theirs(x), strict=True):
        assert torch.equal(found, expected)


def test_equation_1():
    """Tolstikhin et al. (2021): U = X + W₂ σ(W₁ LayerNorm(X)) along time, then the same along channels."""
    block = build(SMALL, num_frames=7).blocks[0].eval()
    token, (up, _, down) = block.time_mixing, block.channel_mixing
    assert token.up.weight.shape == (21, 7) and up.weight.shape == (60, 20)
    x = torch.randn(2, 7, 20)
    inner = torch.nn.functional.gelu(
        torch.einsum("ut,bth->buh", token.up.weight, block.time_norm(x)) + token.up.bias[:, None]
    )
    y = x + torch.einsum("tu,buh->bth", token.down.weight, inner) + token.down.bias[:, None]
    expected = y + down(torch.nn.functional.gelu(up(block.channel_norm(y))))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-5)
