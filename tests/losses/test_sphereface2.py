"""SphereFace2 against a slow, literal transcription."""

from __future__ import annotations

import math

import pytest
import torch

from svtk.errors import ConfigError
from svtk.losses.sphereface2 import Config
from svtk.registry import configure


def literal(cosines, label, config: Config, bias, factor):
    """The loss of one sample from its cosines, one binary decision at a time."""

    def g(z):
        return 2 * ((z + 1) / 2) ** config.exponent - 1

    r, m, total = config.scale, config.margin * factor, 0.0
    for c, z in enumerate(cosines):
        theta = math.acos(z)
        if c == label:
            similarity = g(z) - m if config.margin_type == "C" else g(math.cos(min(theta + m, math.pi)))
            total += config.positive_weight * math.log1p(math.exp(-(r * similarity + bias)))
        else:
            similarity = g(z) + m if config.margin_type == "C" else g(math.cos(max(theta - m, 0)))
            total += (1 - config.positive_weight) * math.log1p(math.exp(r * similarity + bias))
    return total


@pytest.mark.parametrize("margin_type", ["C", "A"])
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(
    "options", [{}, {"margin": 0.4, "scale": 10.0, "exponent": 2.0, "positive_weight": 0.4}, {"exponent": 1}]
)
def test_the_loss_equals_its_transcription(sv_loss, margin_type, factor, options):
    loss = sv_loss("sphereface2", margin_type=margin_type, **options)
    loss.margin_factor = factor
    with torch.no_grad():
        loss.bias.fill_(0.7)
    embedding, label = torch.randn(7, 6), torch.tensor([0, 8, 3, 3, 1, 5, 2])
    rows = torch.nn.functional.normalize(embedding.double()) @ torch.nn.functional.normalize(loss.weight.double()).T
    pairs = zip(rows.tolist(), label.tolist(), strict=True)
    expected = [literal(row, c, loss.config, 0.7, factor) for row, c in pairs]
    assert loss(embedding, label).item() == pytest.approx(sum(expected) / 7, rel=1e-5)


def test_the_defaults_are_those_of_speaker_training():
    config = Config()
    assert (config.margin, config.scale, config.positive_weight, config.exponent) == (0.2, 32.0, 0.7, 3.0)
    assert config.margin_type == "C"


@pytest.mark.parametrize("margin_type", ["C", "A"])
def test_gradients(sv_loss, margin_type):
    loss = sv_loss("sphereface2", num_spks=4, margin_type=margin_type).double()
    embedding = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda e, *_: loss(e, label), (embedding, loss.weight, loss.bias))


@pytest.mark.parametrize("margin_type", ["C", "A"])
@pytest.mark.parametrize("exponent", [1.0, 3.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_where_the_cosine_is_one_or_minus_one(sv_loss, margin_type, exponent, sign):
    loss = sv_loss("sphereface2", 4, 5, margin_type=margin_type, exponent=exponent)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(5, 4) + torch.tensor([[0.0], [0], [0], [0], [1]]))
    embedding = (sign * torch.eye(4)).requires_grad_()
    value = loss(embedding, torch.arange(4))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(x.grad).all() for x in (embedding, loss.weight, loss.bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["sphereface2", "subcenter_aam", "aam_softmax"])
def test_half_precision_embeddings(sv_loss, name, dtype):
    """They are compared in float32: nothing overflows where r (g + m) + b passes what float16 can take the exp of."""
    loss, embedding, label = sv_loss(name, scale=64.0), torch.randn(5, 6).to(dtype).requires_grad_(), torch.arange(5)
    with torch.autocast("cpu", dtype):
        value = loss(embedding, label)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(embedding.float(), label))
    value.backward()
    assert torch.isfinite(embedding.grad).all()


def test_it_learns(sv_loss):
    loss, label = sv_loss("sphereface2"), torch.arange(9)
    embedding = torch.nn.Parameter(torch.randn(9, 6))
    optimizer = torch.optim.Adam([embedding, *loss.parameters()], lr=0.05)
    first = loss(embedding, label).item()
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(embedding, label)
        value.backward()
        optimizer.step()
    assert value.item() < 0.2 * first and loss.cosines(embedding).argmax(1).equal(label)


@pytest.mark.parametrize("name", ["sphereface2", "aam_softmax"])
def test_starting_from_means(sv_loss, name):
    loss, means = sv_loss(name), 5 * torch.randn(9, 6)
    loss.start_from(means)
    torch.testing.assert_close(loss.cosines(means).diagonal(), torch.ones(9))
    assert loss.weight.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be positive"),
        ({"margin": -0.1}, "margin not negative"),
        ({"margin": 2.0, "margin_type": "A"}, "in radians, at most π/2"),
        ({"positive_weight": 1.0}, "positive_weight must lie between 0 and 1"),
        ({"exponent": 0.5}, "exponent must be at least 1"),
        ({"margin_type": "M"}, "expected one of 'C', 'A'"),
        ({"lanbuda": 0.7}, "unknown key 'sv_loss.lanbuda'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError) as raised:
        configure("losses", {"name": "sphereface2", **options}, "sv_loss")
    assert message in str(raised.value)
