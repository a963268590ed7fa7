"""Backends: L+1 hidden states (B, T, H) to embeddings (B, E)."""

from __future__ import annotations

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from svtk.backends._layer_sum import LayerSum
from svtk.errors import ConfigError
from svtk.registry import configure, names

ECAPA = {"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 24, "attention_channels": 8, "se_channels": 8}
LAYOUT = {
    "frequencies": 6,
    "channels": 4,
    "group_channels": 2,
    "stages": [{"reduction": 6}, {"stride": 2, "num_blocks": 1, "expansion": 2}, {"stride": 3, "reduction": 3}],
}
FUSION = {"name": "redimnet_fusion", "layout": LAYOUT, "num_injected": 2, "merge_layers": 2, "num_mels": 10}
SMALL = {
    "linear": {"name": "linear"},
    "ecapa_tdnn": ECAPA,
    "ecapa_dense": {**ECAPA, "name": "ecapa_dense"},
    "mhfa": {"name": "mhfa", "num_heads": 3, "compression_dim": 4},
    "redimnet": {"name": "redimnet", "layout": LAYOUT},
    "redimnet_fusion": FUSION,
}


def build(spec, num_hidden=3, hidden_dim=6):
    torch.manual_seed(6)
    return configure("backends", spec, "backend").build(num_hidden=num_hidden, hidden_dim=hidden_dim).eval()


def states(batch=2, frames=25, count=3, dim=6):
    return [torch.randn(batch, frames, dim) for _ in range(count)]


def inputs(backend, hidden):
    """What the backend takes: *hidden*, and where it hears it, the wav that a waveform frontend would have had."""
    batch, frames = hidden[0].shape[:2]
    return (hidden, 0.1 * torch.randn(batch, 320 * frames + 80)) if backend.needs_wav else (hidden,)


def test_every_backend_is_tested_here():
    assert names("backends") == sorted(SMALL)


def test_layer_sum():
    layer_sum, hidden = LayerSum(3), states()
    torch.testing.assert_close(layer_sum(hidden), (hidden[0] + hidden[1] + hidden[2]) / 3)
    with torch.no_grad():
        layer_sum.logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    torch.testing.assert_close(layer_sum(hidden), 0.2 * hidden[0] + 0.3 * hidden[1] + 0.5 * hidden[2])


def test_a_state_too_few_is_noticed():
    with pytest.raises(ValueError):
        LayerSum(3)(states(count=2))


@pytest.mark.parametrize("name", SMALL)
def test_one_interface(name):
    backend = build({**SMALL[name], "embedding_dim": 5})
    assert backend.embedding_dim == 5 and backend.needs_wav == (name == "redimnet_fusion")
    for frames in (25, 60):
        assert backend(*inputs(backend, states(frames=frames))).shape == (2, 5)


@pytest.mark.parametrize("name", SMALL)
def test_an_embedding_depends_on_its_own_row_alone(name):
    backend, hidden = build(SMALL[name]), states(batch=3)
    hidden, *wav = inputs(backend, hidden)
    together = backend(hidden, *wav)
    alone = backend([h[1:2] for h in hidden], *(w[1:2] for w in wav))
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("num_hidden", [2, 3])
def test_every_state_counts_and_every_parameter_learns(name, num_hidden):
    """Fusion leaves state 0, the projected features, to its spectrogram."""
    backend = build(SMALL[name], num_hidden).train()
    hidden, *wav = inputs(backend, [h.requires_grad_() for h in states(batch=4, count=num_hidden)])
    (backend(hidden, *wav) * torch.randn(4, backend.embedding_dim)).sum().backward()
    assert all(h.grad.any() for h in hidden[backend.needs_wav :])
    assert [n for n, p in backend.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("pooling", ["mean", "stats"])
def test_linear_pools_over_time(pooling):
    backend, hidden = build({"name": "linear", "pooling": pooling}), states()
    x = sum(hidden) / 3
    pooled = x.mean(1)
    if pooling == "stats":
        pooled = torch.cat([pooled, x.std(1, correction=0)], dim=1)
    pooled = (pooled - pooled.mean(1, keepdim=True)) / (pooled.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    expected = pooled @ backend.linear.weight.T + backend.linear.bias
    torch.testing.assert_close(backend(hidden), expected, rtol=0, atol=1e-5)


def test_linear_stats_of_constant_frames_have_gradients():
    hidden = [torch.ones(1, 9, 6, requires_grad=True) for _ in range(3)]
    build(SMALL["linear"])(hidden).sum().backward()
    assert torch.isfinite(hidden[0].grad).all()


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_ecapa_is_speechbrains_lobe_over_normalised_frames(norm):
    """Over time (instance), or over the channels of a frame (layer)."""
    backend, hidden = build({**ECAPA, "norm": norm}), states()
    x, dim = sum(hidden) / 3, 1 if norm == "instance" else 2  # (B, T, H)
    x = (x - x.mean(dim, keepdim=True)) / (x.var(dim, keepdim=True, correction=0) + 1e-5).sqrt()
    assert isinstance(backend.ecapa, ECAPA_TDNN)
    torch.testing.assert_close(backend(hidden), backend.ecapa(x)[:, 0], rtol=0, atol=1e-5)


def test_ecapa_does_not_hear_a_channels_level():
    """InstanceNorm over time takes out each channel's mean and scale in an utterance."""
    backend, x = build(ECAPA, num_hidden=1), torch.randn(2, 25, 6)
    louder = x * torch.tensor([0.5, 2, 3, 4, 5, 6]) + torch.arange(6)
    torch.testing.assert_close(backend([x]), backend([louder]), rtol=0, atol=1e-3)


def test_the_papers_ecapa():
    backend = build({"name": "ecapa_tdnn"}, num_hidden=6, hidden_dim=1024)
    assert backend.embedding_dim == 192 and backend.layer_sum.logits.shape == (6,)
    assert [block.conv.conv.out_channels for block in backend.ecapa.blocks[:1]] == [512]
    assert backend.ecapa.fc.conv.weight.shape[:2] == (192, 2 * 1536)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ecapa_tdnn", "channels": 12}, "channels 12 is not a multiple of res2net_scale 8"),
        ({"name": "ecapa_tdnn", "embedding_dim": 0}, "must be positive"),
        ({"name": "ecapa_tdnn", "channels": 0}, "must be positive"),
        ({"name": "ecapa_tdnn", "res2net_scale": 0}, "must be positive"),
        ({"name": "linear", "embedding_dim": -1}, "must be positive"),
        ({"name": "linear", "pooling": "max"}, "expected one of 'mean', 'stats'"),
        ({"name": "ecapa"}, "did you mean 'ecapa_tdnn'?"),
        ({}, "'backend' needs a name; found {}; expected one of ecapa_dense, ecapa_tdnn, linear, mhfa, redimnet"),
        ({"name": "mhfa", "num_heads": 0}, "must be positive"),
        ({"name": "redimnet", "size": "b9"}, "'b0', 'b1', 'b2', 'ssrf'"),
        ({"name": "redimnet", "embedding_dim": 0}, "must be positive"),
        ({"name": "redimnet", "layout": {**LAYOUT, "frequencies": 8}}, "the strides do not divide 8 frequencies"),
        (
            {"name": "redimnet", "layout": {**LAYOUT, "group_channels": 3}},
            "16 channels cannot be grouped by group_channels 3",
        ),
        (
            {"name": "redimnet", "layout": {**LAYOUT, "stages": [{"reduction": 4}]}},
            "24 / reduction 4 is not a multiple of 4",
        ),
        (
            {"name": "redimnet", "layout": {**LAYOUT, "stages": [{"reduction": 99}]}},
            "24 / reduction 99 is not a multiple",
        ),
        ({"name": "redimnet", "layout": {**LAYOUT, "stages": []}}, "a layout needs stages"),
        (
            {"name": "redimnet", "layout": {**LAYOUT, "stages": [{"blocks": 2}]}},
            "unknown key 'backend.layout.stages[0].blocks'",
        ),
        ({"name": "redimnet_fusion", "merge_layers": 0}, "must be positive"),
        ({**FUSION, "num_injected": 4}, "num_injected 4 is more than there are stages, 3"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError) as raised:
        configure("backends", options, "backend")
    assert message in str(raised.value)
