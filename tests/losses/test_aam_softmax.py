"""AAM-softmax against a slow transcription with arccos, and against SpeechBrain's."""

from __future__ import annotations

import math

import pytest
import torch
from speechbrain.nnet.losses import AdditiveAngularMargin, LogSoftmaxWrapper

from svtk.errors import ConfigError
from svtk.losses._classifier import add_angle, subtract_angle
from svtk.losses.aam_softmax import Config
from svtk.registry import configure

PENALTIES = ["weight", "margin", "none"]


@pytest.fixture
def build(sv_loss):
    return lambda *sizes, **options: sv_loss("aam_softmax", *sizes, **options)


def literal(cosines, label, config: Config, factor=1.0):
    """The loss of one sample from its cosines, one class at a time."""
    angles = [math.acos(c) for c in cosines]
    impostors = sorted((a, c) for c, a in enumerate(angles) if c != label)[: config.top_k]
    nearest = {c for _, c in impostors} if config.top_k_penalty != "none" else set()
    logits, counts = [], []
    for c, angle in enumerate(angles):
        count = 1.0
        if c == label:
            angle += config.margin * factor
        elif c in nearest and config.top_k_penalty == "margin":
            angle = max(0.0, angle - config.top_k_margin * factor)
        elif c in nearest:
            count = config.top_k_weight
        logits.append(config.scale * math.cos(angle))
        counts.append(count)
    total = sum(count * math.exp(logit - logits[label]) for count, logit in zip(counts, logits, strict=True))
    return math.log(total)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("options", [{}, {"margin": 0.5, "scale": 10.0, "top_k": 2, "top_k_margin": 0.3}])
def test_the_loss_equals_its_transcription(build, penalty, factor, options):
    loss = build(top_k_penalty=penalty, **options)
    loss.margin_factor = factor
    embedding, label = torch.randn(7, 6), torch.tensor([0, 8, 3, 3, 1, 5, 2])
    rows = torch.nn.functional.normalize(embedding.double()) @ torch.nn.functional.normalize(loss.weight.double()).T
    rows = rows.tolist()
    assert all(math.acos(row[c]) + 0.5 < math.pi for row, c in zip(rows, label, strict=True))
    expected = [literal(row, c, loss.config, factor) for row, c in zip(rows, label.tolist(), strict=True)]
    assert loss(embedding, label).item() == pytest.approx(sum(expected) / 7, abs=1e-5)


def test_the_papers_values_are_the_defaults():
    config = Config()
    assert (config.margin, config.scale, config.top_k, config.top_k_penalty) == (0.2, 30.0, 5, "weight")
    assert (config.top_k_weight, config.top_k_margin) == (10.0, 0.1)


@pytest.mark.parametrize(("margin", "scale"), [(0.2, 30.0), (0.0, 10.0), (0.5, 64.0)])
def test_without_a_penalty_it_is_speechbrains(build, margin, scale):
    """Theirs is given the cosines; past π - margin both fall on, each by a line of its own."""
    loss = build(16, 9, margin=margin, scale=scale, top_k_penalty="none")
    embedding, label = torch.randn(40, 16), torch.arange(40) % 9
    cosine = torch.nn.functional.normalize(embedding) @ torch.nn.functional.normalize(loss.weight).T
    assert (cosine[range(40), label] > math.cos(math.pi - margin)).all()
    theirs = LogSoftmaxWrapper(AdditiveAngularMargin(margin=margin, scale=scale))
    expected = theirs(cosine[:, None], label[:, None])
    torch.testing.assert_close(loss(embedding, label), expected, rtol=1e-5, atol=1e-5)


def test_a_harder_loss_with_each_penalty(build):
    embedding, label = torch.randn(7, 6), torch.arange(7)
    plain, weight, margin = (build(top_k_penalty=p)(embedding, label).item() for p in ("none", "weight", "margin"))
    assert weight > plain + 0.1 and margin > plain + 0.1


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_where_the_cosine_is_one_or_minus_one(build, penalty, sign):
    loss = build(4, 5, top_k_penalty=penalty)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(5, 4) + 1.0 * torch.tensor([[0.0], [0], [0], [0], [1]]))
    embedding = (sign * torch.eye(4)).requires_grad_()
    value = loss(embedding, torch.arange(4))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(embedding.grad).all() and torch.isfinite(loss.weight.grad).all()


def test_an_embedding_of_zeros_has_a_finite_gradient(build):
    loss = build()
    embedding = torch.zeros(2, 6, requires_grad=True)
    loss(embedding, torch.tensor([0, 1])).backward()
    assert torch.isfinite(embedding.grad).all()


@pytest.mark.parametrize("angle", [0.0, 0.1, 0.5, 1.0])
def test_angles(angle):
    theta = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    inside = theta + angle < math.pi
    added = add_angle(theta.cos(), angle)
    torch.testing.assert_close(added[inside], (theta + angle).cos()[inside], rtol=0, atol=1e-4)
    assert (added.diff() < 0).all()  # it falls on where the sum is past π
    subtracted = subtract_angle(theta.cos(), angle)
    torch.testing.assert_close(subtracted, (theta - angle).clamp(min=0).cos(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_fewer_impostors_than_top_k(build, penalty):
    loss = build(num_spks=3, top_k_penalty=penalty, top_k=5)
    embedding, label = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    rows = torch.nn.functional.normalize(embedding.double()) @ torch.nn.functional.normalize(loss.weight.double()).T
    expected = [literal(row, c, loss.config) for row, c in zip(rows.tolist(), label.tolist(), strict=True)]
    assert loss(embedding, label).item() == pytest.approx(sum(expected) / 4, abs=1e-5)


def test_it_learns(build):
    loss = build()
    embedding = torch.nn.Parameter(torch.randn(9, 6))
    label = torch.arange(9)
    optimizer = torch.optim.Adam([embedding, *loss.parameters()], lr=0.05)
    first = loss(embedding, label).item()
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(embedding, label)
        value.backward()
        optimizer.step()
    assert value.item() < 0.2 * first
    cosine = torch.nn.functional.normalize(embedding) @ torch.nn.functional.normalize(loss.weight).T
    assert cosine.argmax(1).equal(label)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale and top_k_weight must be positive"),
        ({"margin": -0.1}, "not negative"),
        ({"margin": 4.0}, "margins are in radians, at most π/2"),
        ({"top_k": -1}, "not negative"),
        ({"top_k_penalty": "angle"}, "expected one of 'weight', 'margin', 'none'"),
        ({"margn": 0.1}, "did you mean 'margin'?"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError) as raised:
        configure("losses", {"name": "aam_softmax", **options}, "sv_loss")
    assert message in str(raised.value)
