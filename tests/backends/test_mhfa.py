"""MHFA against a slow transcription of its formulas, and its published size."""

from __future__ import annotations

import torch

from svtk.registry import configure


def build(num_hidden, hidden_dim, **options):
    torch.manual_seed(7)
    return configure("backends", {"name": "mhfa", **options}).build(num_hidden=num_hidden, hidden_dim=hidden_dim).eval()


def test_heads_weigh_frames_by_keys_and_share_values():
    backend = build(3, 6, num_heads=2, compression_dim=4, embedding_dim=5)
    with torch.no_grad():
        backend.key_sum.logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
        backend.value_sum.logits.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    hidden = [torch.randn(2, 9, 6) for _ in range(3)]
    keys = (0.2 * hidden[0] + 0.3 * hidden[1] + 0.5 * hidden[2]) @ backend.key.weight.T
    values = (0.7 * hidden[0] + 0.2 * hidden[1] + 0.1 * hidden[2]) @ backend.value.weight.T + backend.value.bias
    for row in range(2):
        heads = []
        for head in range(2):
            scores = torch.stack([backend.attention.weight[head] @ keys[row, t] for t in range(9)]).exp()
            heads.append(sum(scores[t] * values[row, t] for t in range(9)) / scores.sum())
        expected = backend.linear.weight @ torch.cat(heads) + backend.linear.bias
        torch.testing.assert_close(backend(hidden)[row], expected, rtol=0, atol=1e-5)


def test_the_published_size():
    """64 heads over WavLM-Base+ (13 states of width 768): the paper's layers less the two biases without effect."""
    backend = build(13, 768)
    published = 2 * 13 + 2 * (768 * 128 + 128) + (128 * 64 + 64) + (64 * 128 * 256 + 256)
    assert published == 2_302_554
    assert sum(p.numel() for p in backend.parameters()) == published - 128 - 64
    assert backend.embedding_dim == 256


def test_biases_of_keys_and_attention_would_have_no_effect():
    backend, hidden = build(2, 6, num_heads=2, compression_dim=4), [torch.randn(1, 9, 6) for _ in range(2)]
    expected = backend(hidden)
    for name in ("key", "attention"):
        layer = getattr(backend, name)
        biased = torch.nn.Linear(layer.in_features, layer.out_features)
        biased.weight = layer.weight
        setattr(backend, name, biased)
    torch.testing.assert_close(backend(hidden), expected, rtol=0, atol=1e-5)
