"""Sub-centre AAM against a slow transcription: the nearest of a speaker's centres is the speaker."""

from __future__ import annotations

import math

import pytest
import torch

from svtk.errors import ConfigError
from svtk.losses.subcenter_aam import Config
from svtk.registry import configure


def literal(embedding, centers, label, config: Config):
    """The loss of one sample from its embedding and the centres [speaker][k], one class at a time."""

    def angle(a, b):
        return math.acos(sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b))

    angles = [min(angle(embedding, center) for center in speaker) for speaker in centers]
    nearest = {c for _, c in sorted((a, c) for c, a in enumerate(angles) if c != label)[: config.top_k]}
    logits, counts = [], []
    for c, theta in enumerate(angles):
        logits.append(config.scale * math.cos(theta + (config.margin if c == label else 0)))
        counts.append(config.top_k_weight if c in nearest else 1)
    total = sum(n * math.exp(x - logits[label]) for n, x in zip(counts, logits, strict=True))
    return math.log(total)


@pytest.mark.parametrize("num_subcenters", [1, 2, 3])
def test_the_loss_equals_its_transcription(sv_loss, num_subcenters):
    loss = sv_loss("subcenter_aam", num_subcenters=num_subcenters, top_k=2)
    embedding, label = torch.randn(7, 6), torch.tensor([0, 8, 3, 3, 1, 5, 2])
    centers = loss.weight.double().reshape(9, num_subcenters, 6).tolist()
    pairs = zip(embedding.double().tolist(), label.tolist(), strict=True)
    expected = [literal(row, centers, c, loss.config) for row, c in pairs]
    assert loss(embedding, label).item() == pytest.approx(sum(expected) / 7, abs=1e-5)


def test_one_centre_is_aam_softmax(sv_loss):
    one, plain = sv_loss("subcenter_aam", num_subcenters=1), sv_loss("aam_softmax")
    embedding, label = torch.randn(5, 6), torch.arange(5)
    torch.testing.assert_close(one(embedding, label), plain(embedding, label))


def test_gradients(sv_loss):
    loss = sv_loss("subcenter_aam", num_spks=4, top_k=1).double()
    embedding = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda e, _: loss(e, label), (embedding, loss.weight))
    loss(embedding[:1], label[:1]).backward()
    touched = loss.weight.grad.reshape(4, 3, 6).any(dim=2)
    assert touched.sum(1).tolist() == [1, 1, 1, 1]  # only the nearest centre of each speaker learns


def test_a_wrong_label_strays_less(sv_loss):
    """One speaker's utterances in two places: with two centres both can be near one."""
    places = torch.eye(6)[:4].repeat_interleave(4, dim=0)
    label = torch.tensor([0] * 8 + [1] * 4 + [2] * 4)  # 0 lies in two places
    found = {}
    for count in (1, 2):
        loss = sv_loss("subcenter_aam", num_spks=3, num_subcenters=count, scale=5.0, top_k_penalty="none")
        with torch.no_grad():  # from where either centre is nearest to one place
            loss.weight[:count] = (torch.eye(6) + 0.3 * torch.eye(6).roll(1, 0))[:count]
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            loss(places, label).backward()
            optimizer.step()
        found[count] = loss.cosines(places)[range(16), label][:8].min().item()
    assert found[1] < math.sqrt(0.5) + 0.05 and found[2] > 0.9


def test_starting_from_means_sets_the_centres_apart(sv_loss):
    loss, means = sv_loss("subcenter_aam", num_spks=4), torch.randn(4, 6)
    loss.start_from(means)
    centers = torch.nn.functional.normalize(loss.weight).reshape(4, 3, 6)
    assert (torch.einsum("nke,ne->nk", centers, torch.nn.functional.normalize(means)) > 0.98).all()
    assert (centers[:, 0] - centers[:, 1]).norm(dim=1).min() > 0.01


def test_wrong_options():
    with pytest.raises(ConfigError, match="num_subcenters must be at least 1"):
        configure("losses", {"name": "subcenter_aam", "num_subcenters": 0})
    with pytest.raises(ConfigError, match="scale and top_k_weight must be positive"):
        configure("losses", {"name": "subcenter_aam", "scale": 0})
