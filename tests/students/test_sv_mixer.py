"""SV-Mixer against the paper's figures and against a slow, literal transcription of its block."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from svtk.deploy.describe import count_macs
from svtk.registry import configure
from svtk.students.sv_mixer import Config, GroupMLP, SVMixer, SVMixerBlock

SMALL = Config(num_layers=3, hidden_dim=16, group_dim=4, expansion=3)
OFF = {"lgm": "off", "msm": False, "gcm": False}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def paper_block(**switches) -> SVMixerBlock:
    with torch.device("meta"):
        return SVMixerBlock(Config(**switches), num_frames=149)


def test_the_papers_size_and_compute():
    with torch.device("meta"):
        block, frames = SVMixerBlock(Config(), num_frames=149), torch.empty(1, 149, 1024)
    assert count(block) == 3_745_969
    macs = count_macs(block, frames)
    assert macs == 632_055_808 and f"{macs / 1e9:.3f}" == "0.632"


@pytest.mark.parametrize(
    ("switches", "parameters"),
    [
        (OFF, 8_576_177),  # MLP-Mixer: 8.58 M in Table I
        ({**OFF, "lgm": "parallel"}, 8_576_177 + 1024 * (7 + 1 + 3 + 1)),
        ({**OFF, "lgm": "sequential"}, 8_576_177 + 1024 * (3 + 1)),
        ({**OFF, "msm": True}, 8_576_177 + 2 * 1024 * 4096 + 4096 + 1024),
        ({"lgm": "off"}, 3_745_969 - 1024 * (7 + 1 + 3 + 1)),
        ({"msm": False}, 3_745_969 - 8 * (2 * 128 * 512 + 512 + 128)),
    ],
)
def test_ablation_switches(switches, parameters):
    assert count(paper_block(**switches)) == parameters


def test_gcm_off_is_one_mlp_over_all_channels():
    mixing = paper_block(gcm=False).channel_mixing
    assert [tuple(p.shape) for p in mixing.full_rate.parameters()] == [(4096, 1024), (4096,), (1024, 4096), (1024,)]
    assert mixing.group_conv is None and mixing.join is None


def test_all_off_is_mlp_mixer():
    """Tolstikhin et al. (2021), equation 1, with the layers of the block."""
    block = SVMixerBlock(dataclasses.replace(SMALL, **OFF), num_frames=7).eval()
    token, (up, _, down) = block.time_mixing.token, block.channel_mixing.full_rate
    x = torch.randn(2, 7, 16)
    mixed = torch.einsum("ut,bth->buh", token.up.weight, block.time_norm(x)) + token.up.bias[:, None]
    mixed = torch.einsum("tu,buh->bth", token.down.weight, torch.nn.functional.gelu(mixed)) + token.down.bias[:, None]
    y = x + mixed
    expected = y + down(torch.nn.functional.gelu(up(block.channel_norm(y))))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-5)


# The block once more, in numpy and with loops, as PAPER's text reads.


def gelu(x):
    return np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))), otypes=[float])(x)


def layer_norm(x, norm):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + norm.eps) * weights(norm.weight) + weights(norm.bias)


def weights(parameter):
    return parameter.detach().double().numpy()


def conv(x, layer, groups):
    """(T, H) to (T, H), zeros outside, one output channel and one frame at a time."""
    weight, bias = weights(layer.weight), weights(layer.bias)
    size, kernel = x.shape[1] // groups, weight.shape[2]
    out = np.zeros_like(x)
    for t in range(len(x)):
        for channel in range(x.shape[1]):
            first = channel // size * size
            value = bias[channel]
            for k in range(kernel):
                at = t + k - kernel // 2
                if 0 <= at < len(x):
                    value += weight[channel, :, k] @ x[at, first : first + size]
            out[t, channel] = value
    return out


def grouped_mlp(x, mlp: GroupMLP):
    out = []
    for group, part in enumerate(np.split(x, mlp.num_groups, axis=1)):
        inner = gelu(part @ weights(mlp.up_weight)[group] + weights(mlp.up_bias)[group])
        out.append(inner @ weights(mlp.down_weight)[group] + weights(mlp.down_bias)[group])
    return np.concatenate(out, axis=1)


def half_rate(x):
    return np.stack([(x[2 * i] + x[2 * i + 1]) / 2 for i in range(len(x) // 2)])


def interpolate(x, frames):
    """Linear, with the ends of the two grids aligned, not their first and last points."""
    out = []
    for t in range(frames):
        at = max(0.0, (t + 0.5) * len(x) / frames - 0.5)
        left = int(at)
        right = min(left + 1, len(x) - 1)
        out.append(x[left] + (at - left) * (x[right] - x[left]))
    return np.stack(out)


def token_mlp(x, mlp):
    """(T, H): the same two layers over time for every channel."""
    inner = gelu(weights(mlp.up.weight) @ x + weights(mlp.up.bias)[:, None])
    return weights(mlp.down.weight) @ inner + weights(mlp.down.bias)[:, None]


def literal_block(x, block: SVMixerBlock, groups: int):
    lgm, msm = block.time_mixing, block.channel_mixing
    y = layer_norm(x, block.time_norm)
    if lgm.mode == "parallel":
        first, _, second = lgm.local
        mixed = conv(gelu(conv(y, first, x.shape[1])), second, x.shape[1]) + token_mlp(y, lgm.token)
    else:
        mixed = token_mlp(conv(y, lgm.local, x.shape[1]), lgm.token)
    x = x + mixed
    y = layer_norm(x, block.channel_norm)
    mixed = grouped_mlp(y, msm.full_rate) + interpolate(grouped_mlp(half_rate(y), msm.half_rate), len(x))
    mixed = gelu(conv(mixed, msm.group_conv, groups)) @ weights(msm.join.weight).T + weights(msm.join.bias)
    return x + mixed


@pytest.mark.parametrize("lgm", ["parallel", "sequential"])
@pytest.mark.parametrize("frames", [9, 10])
def test_the_block_equals_its_transcription(lgm, frames):
    torch.manual_seed(1)
    block = SVMixerBlock(dataclasses.replace(SMALL, lgm=lgm), frames).eval()
    with torch.no_grad():
        for parameter in block.parameters():  # norms and biases too must count
            parameter.add_(0.2 * torch.randn_like(parameter))
        x = torch.randn(2, frames, 16)
        found = block(x)
    for row, expected in zip(found, x.double().numpy(), strict=True):
        np.testing.assert_allclose(row.numpy(), literal_block(expected, block, 4), rtol=0, atol=1e-5)


def test_hidden_states():
    torch.manual_seed(2)
    student = SVMixer(SMALL, num_frames=9).eval()
    x = torch.randn(2, 9, 16)
    hidden = student(x)
    assert [tuple(h.shape) for h in hidden] == [(2, 9, 16)] * 4
    assert hidden[0] is x
    state = x
    for block, found in zip(student.blocks[:-1], hidden[1:-1], strict=True):
        state = block(state)
        torch.testing.assert_close(found, state)
    torch.testing.assert_close(hidden[-1], student.norm(student.blocks[-1](state)))
    torch.testing.assert_close(hidden[-1].mean(-1), torch.zeros(2, 9), rtol=0, atol=1e-6)


def test_only_the_last_block_has_no_dropout_after_msm():
    student = SVMixer(dataclasses.replace(SMALL, dropout=0.5), num_frames=9)
    assert [type(block.channel_dropout) for block in student.blocks] == [nn.Dropout, nn.Dropout, nn.Identity]
    assert all(block.time_dropout.p == 0.5 for block in student.blocks)
    block = student.blocks[-1]  # with LGM silenced and in training mode: nothing random is left
    torch.nn.init.zeros_(block.time_mixing.token.down.weight)
    for layer in block.time_mixing.local:
        if isinstance(layer, nn.Conv1d):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    torch.nn.init.zeros_(block.time_mixing.token.down.bias)
    x = torch.randn(2, 9, 16)
    assert torch.equal(block(x), block(x))
    assert not torch.equal(student.blocks[0](x), student.blocks[0](x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 100}, "hidden_dim 100 is not a multiple of group_dim 128"),
        ({"group_dim": 0}, "group_dim must be positive"),
        ({"lgm": "both"}, "wrong value for 'student.lgm'; found 'both'; expected one of 'parallel', 'sequential'"),
        ({"gcm": 1}, "wrong value for 'student.gcm'; found 1; expected true or false"),
    ],
)
def test_wrong_options(options, message):
    from svtk.errors import ConfigError

    with pytest.raises(ConfigError) as raised:
        configure("students", {"name": "sv_mixer", **options}, "student")
    assert message in str(raised.value)


def test_group_dim_matters_only_with_gcm():
    assert configure("students", {"name": "sv_mixer", "hidden_dim": 100, "gcm": False}).config.hidden_dim == 100
