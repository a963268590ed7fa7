from __future__ import annotations

import pytest
import torch

from svtk.deploy.describe import count_macs
from svtk.errors import ConfigError
from svtk.registry import configure
from svtk.students.transformer import Config, TransformerStudent, sinusoids

SMALL = Config(num_layers=2, hidden_dim=16, ffn_dim=32, num_heads=2)


def test_the_papers_size_and_compute():
    with torch.device("meta"):
        layer = TransformerStudent(Config(num_layers=1), 149).layers[0]
    assert sum(p.numel() for p in layer.parameters()) == 8_399_872
    matrices, attention = 149 * (4 * 1024**2 + 2 * 1024 * 2048), 2 * 149 * 149 * 1024
    assert f"{matrices / 1e9:.2f}" == "1.25"  # the paper's count leaves out the products of attention itself
    assert count_macs(layer.to_empty(device="cpu"), torch.zeros(1, 149, 1024)) == matrices + attention


def test_hidden_states_are_those_of_the_layers():
    student = TransformerStudent(SMALL, 9).eval()
    x = torch.randn(2, 9, 16)
    hidden = student(x)
    first = student.layers[0](x)
    torch.testing.assert_close(hidden[1], first)
    torch.testing.assert_close(hidden[2], student.norm(student.layers[1](first)))


def test_without_positions_it_does_not_know_the_order():
    order = torch.tensor([3, 1, 0, 2, 4, 8, 7, 6, 5])
    x = torch.randn(1, 9, 16)
    for positions, same in (("none", True), ("sinusoidal", False)):
        torch.manual_seed(3)
        config = Config(num_layers=2, hidden_dim=16, ffn_dim=32, num_heads=2, positions=positions)
        student = TransformerStudent(config, 9).eval()
        assert torch.allclose(student(x)[-1][:, order], student(x[:, order])[-1], atol=1e-5) is same


def test_sinusoids():
    table = sinusoids(50, 8)
    assert table.shape == (50, 8)
    t = torch.arange(50.0)
    torch.testing.assert_close(table[:, 0], t.sin())
    torch.testing.assert_close(table[:, 5], (t / 100).cos())  # 10000 ** (4 / 8)
    assert sinusoids(5, 7).shape == (5, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 100, "num_heads": 16}, "hidden_dim 100 is not a multiple of num_heads 16"),
        ({"ffn_dim": 0}, "must be positive"),
        ({"positions": "learned"}, "expected one of 'none', 'sinusoidal'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError) as raised:
        configure("students", {"name": "transformer", **options}, "student")
    assert message in str(raised.value)
