from __future__ import annotations

import pytest
import torch

from svtk.errors import ConfigError
from svtk.registry import configure
from svtk.students.cycle_mlp import Config, CycleFC, build


def test_the_papers_size():
    with torch.device("meta"):
        [block] = build(Config(num_layers=1), num_frames=149).blocks
    assert sum(p.numel() for p in block.parameters()) == 9_447_424


@pytest.mark.parametrize(("dim", "cycle", "frames"), [(6, 3, 5), (7, 3, 4), (10, 5, 2), (4, 7, 9), (3, 1, 4)])
def test_cycle_fc_equals_its_formula(dim, cycle, frames):
    """One output frame, one input channel at a time; widths that S does not divide, windows shorter than S."""
    torch.manual_seed(5)
    layer, x = CycleFC(dim, cycle), torch.randn(2, frames, dim)
    assert sorted(layer.channels) == list(range(dim))
    column = {channel: index for index, channel in enumerate(layer.channels)}
    expected = layer.linear.bias.detach().expand(2, frames, dim).clone()
    for t in range(frames):
        for channel in range(dim):
            at = t + channel % cycle - cycle // 2
            if 0 <= at < frames:
                weight = layer.linear.weight.detach()[:, column[channel]]
                expected[:, t] += x[:, at, channel, None] * weight
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


def test_weights_fit_any_length():
    student = build(Config(num_layers=2, hidden_dim=12), num_frames=9)
    student.load_state_dict(build(Config(num_layers=2, hidden_dim=12), num_frames=50).state_dict(), strict=True)


@pytest.mark.parametrize(("num_layers", "cycle", "reach"), [(1, 3, 1), (3, 3, 3), (2, 5, 4)])
def test_the_receptive_field(num_layers, cycle, reach):
    student = build(Config(num_layers=num_layers, hidden_dim=12, cycle=cycle), num_frames=21).eval()
    x = torch.randn(1, 21, 12)
    other = x.clone()
    other[0, 10] += torch.randn(12)
    changed = (student(x)[-1] - student(other)[-1]).abs().amax(-1)[0] > 1e-7
    assert changed.nonzero().flatten().tolist() == list(range(10 - reach, 10 + reach + 1))


def test_an_even_cycle_has_no_middle():
    with pytest.raises(ConfigError, match="cycle must be odd"):
        configure("students", {"name": "cycle_mlp", "cycle": 4})
