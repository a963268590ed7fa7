"""Both frontends: frames of 20 ms, and the layers that PAPER and Whisper give them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from svtk.errors import ConfigError
from svtk.registry import configure, names


def build(name: str, hidden_dim: int = 12, **options):
    return configure("frontends", {"name": name, **options}, "frontend").build(hidden_dim=hidden_dim).eval()


def test_these_are_all():
    assert names("frontends") == ["log_mel", "waveform_conv"]


@pytest.mark.parametrize(("name", "frames"), [("waveform_conv", 149), ("log_mel", 150)])
def test_frames_of_three_seconds(name, frames):
    frontend = build(name, channels=4)
    assert frontend.num_frames(48_000) == frames
    assert frontend(torch.randn(2, 48_000)).shape == (2, frames, 12)


@pytest.mark.parametrize("name", ["waveform_conv", "log_mel"])
def test_num_frames_agrees_with_the_forward_pass(name):
    frontend = build(name, channels=2)
    lengths = [*range(400, 1100, 7), 1599, 1600, 1601, 3199, 3200, 3279, 3280, 3281, 16_000, 16_079, 16_080, 16_319]
    for length in lengths:
        assert frontend(torch.randn(1, length)).shape[1] == frontend.num_frames(length), length


@pytest.mark.parametrize("name", ["waveform_conv", "log_mel"])
def test_wavs_of_a_batch_do_not_meet(name):
    frontend = build(name, channels=4)
    wav = torch.randn(3, 8000) * torch.tensor([[1.0], [0.01], [0.0]])
    torch.testing.assert_close(frontend(wav)[1:2], frontend(wav[1:2]), rtol=0, atol=1e-5)
    assert torch.isfinite(frontend(wav)).all()


def test_the_waveform_frontend_is_the_papers():
    frontend = build("waveform_conv", hidden_dim=1024)
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in frontend.convs] == [
        *[(1, 512, 10, 5)],
        *[(512, 512, 3, 2)] * 4,
        *[(512, 512, 2, 2)] * 2,
    ]
    assert all(conv.bias is None for conv in frontend.convs)
    norms = [m for m in frontend.modules() if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in norms] == [(512, 512)]
    assert sum(p.numel() for p in frontend.parameters()) == sum(
        [512 * 10, 4 * 512 * 512 * 3, 2 * 512 * 512 * 2, 2 * 512, 2 * 512, 512 * 1024 + 1024]
    )
    assert frontend.dropout.p == 0.1


@pytest.mark.parametrize("channels", [64, 512])
def test_the_waveform_reaches_the_last_layer(channels):
    """With PyTorch's own first weights LayerNorm's epsilon was above what is left, and a student learned nothing."""
    torch.manual_seed(0)
    frontend, into_norm = build("waveform_conv", channels=channels), []
    frontend.norm.register_forward_pre_hook(lambda _, given: into_norm.append(given[0]))
    out = frontend(0.05 * torch.randn(2, 16_000))
    assert into_norm[0].var(-1).mean() > 100 * frontend.norm.eps
    assert out.std(1).mean() > 0.2  # over time


def test_the_waveform_frontends_forward_pass():
    """GroupNorm after the first convolution only, GELU after each, LayerNorm before the projection."""
    frontend = build("waveform_conv", channels=4)
    with torch.no_grad():
        frontend.group_norm.weight.uniform_(0.5, 2)
        frontend.group_norm.bias.uniform_(-1, 1)
    wav = torch.randn(2, 4000)
    x = F.conv1d(wav[:, None], frontend.convs[0].weight, stride=5)
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    x = (x - mean) / (var + 1e-5).sqrt() * frontend.group_norm.weight[:, None] + frontend.group_norm.bias[:, None]
    x = F.gelu(x)
    for conv in frontend.convs[1:]:
        x = F.gelu(F.conv1d(x, conv.weight, stride=2))
    expected = F.layer_norm(x.transpose(1, 2), (4,)) @ frontend.projection.weight.T + frontend.projection.bias
    torch.testing.assert_close(frontend(wav), expected, rtol=0, atol=1e-5)


def test_widths_per_layer():
    frontend = build("waveform_conv", channels=[4, 4, 6, 6, 8, 8, 10])
    assert [conv.out_channels for conv in frontend.convs] == [4, 4, 6, 6, 8, 8, 10]
    assert frontend(torch.randn(1, 3200)).shape == (1, 9, 12)


def test_the_log_mel_frontend_starts_as_whisper_does():
    frontend = build("log_mel", channels=6)
    wav = 0.1 * torch.randn(2, 8000)
    x = F.gelu(F.conv1d(frontend.log_mel(wav), frontend.conv1.weight, frontend.conv1.bias, padding=1))
    x = F.gelu(F.conv1d(x, frontend.conv2.weight, frontend.conv2.bias, stride=2, padding=1)).transpose(1, 2)
    expected = F.layer_norm(x, (6,)) @ frontend.projection.weight.T + frontend.projection.bias
    torch.testing.assert_close(frontend(wav), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["waveform_conv", "log_mel"])
def test_dropout_is_for_training(name):
    frontend = build(name, channels=4, dropout=0.5)
    wav = torch.randn(1, 4000)
    assert torch.equal(frontend(wav), frontend(wav))
    frontend.train()
    assert 0.2 < (frontend(wav) == 0).float().mean() < 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "waveform_conv", "kernels": [10, 3]}, "kernels and strides must be equally long"),
        ({"name": "waveform_conv", "channels": [4, 4]}, "one number or one per layer"),
        ({"name": "waveform_conv", "strides": [5, 2, 2, 2, 2, 2, 1]}, "the strides make 160 samples a frame, not 320"),
        ({"name": "waveform_conv", "channels": 0}, "must be positive"),
        ({"name": "waveform_conv", "kernels": [], "strides": []}, "must be positive"),
        ({"name": "waveform_conv", "dropout": 1}, "dropout must lie in [0, 1)"),
        ({"name": "log_mel", "channels": 0}, "must be positive"),
        ({"name": "log_mel", "dropout": -1}, "dropout must lie in [0, 1)"),
        ({"name": "logmel"}, "did you mean 'log_mel'?"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError) as raised:
        configure("frontends", options, "frontend")
    assert message in str(raised.value)


@pytest.mark.parametrize("num_samples", [8000, 8320])
@pytest.mark.parametrize(
    ("name", "channels"), [("waveform_conv", 16), ("waveform_conv", [8, 8, 16, 16, 8, 8, 12]), ("log_mel", 16)]
)
def test_fused_for_inference(name, channels, num_samples):
    """Also of quiet and silent wavs, and of one far off zero, where the first layer's variance is a small part."""
    torch.manual_seed(3)
    frontend = build(name, channels=channels, hidden_dim=24)
    with torch.no_grad():
        for parameter in frontend.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    wav = 0.1 * torch.randn(4, num_samples) * torch.tensor([[1.0], [0.01], [0.0], [1.0]])
    wav[3] += 2.0
    with torch.inference_mode():
        expected = frontend(wav)
        found, mixed = frontend.fused("float32")(wav), frontend.fused("bfloat16")(wav)
    # the offset costs torch's own sums of squares some digits
    torch.testing.assert_close(found[:3], expected[:3], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[3], expected[3], rtol=0, atol=1e-4)
    assert mixed.dtype == torch.bfloat16 and (mixed.float() - expected).norm() < 0.03 * expected.norm()
