"""One interface for all students, and PAPER's Table I: their sizes and compute per layer."""

from __future__ import annotations

import pytest
import torch

from svtk.deploy.describe import count_macs
from svtk.errors import ConfigError
from svtk.registry import configure, names
from svtk.students._base import BlockStack, StudentConfig
from svtk.students._blocks import MixerBlock

STUDENTS = names("students")
SMALL = {"num_layers": 2, "hidden_dim": 48}
OPTIONS = {"sv_mixer": {"group_dim": 12}, "transformer": {"ffn_dim": 96, "num_heads": 4}}


def small(name, num_frames=11, **options):
    torch.manual_seed(4)
    component = configure("students", {"name": name, **SMALL, **OPTIONS.get(name, {}), **options})
    return component.build(num_frames=num_frames)


def test_all_of_table_1_are_there():
    assert set(STUDENTS) >= {"sv_mixer", "transformer", "mlp_mixer", "cycle_mlp", "conv_mixer"}


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("transformer", 8.40, 1.25),
        ("mlp_mixer", 8.58, 1.43),
        ("cycle_mlp", 9.45, 1.42),
        ("conv_mixer", 9.02, 1.48),
        ("sv_mixer", 3.75, 0.63),
    ],
)
def test_table_1(name, parameters, gmacs):
    """Per layer, at the defaults, which are H = 1024, for T = 149."""
    two, one = (configure("students", {"name": name, "num_layers": layers}) for layers in (2, 1))
    with torch.device("meta"):
        pair = [component.build(num_frames=149) for component in (two, one)]
        frames = torch.empty(1, 149, 1024)
    sizes = [sum(p.numel() for p in student.parameters()) for student in pair]
    macs = [count_macs(student, frames) for student in pair]
    assert (sizes[0] - sizes[1]) / 1e6 == pytest.approx(parameters, rel=0.01)
    attention = 2 * 149 * 149 * 1024 if name == "transformer" else 0  # the paper's 1.25 leaves these products out
    assert (macs[0] - macs[1] - attention) / 1e9 == pytest.approx(gmacs, rel=0.03)


@pytest.mark.parametrize("name", STUDENTS)
def test_traced_at_the_first_go(name):
    """No batch size is a constant of the program, at which export would begin again in a slower way."""
    free = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(small(name).eval(), (torch.randn(2, 11, 48),), dynamic_shapes=free, strict=False)
    assert program.module()(torch.randn(5, 11, 48))[-1].shape == (5, 11, 48)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(("num_layers", "num_frames", "dim"), [(1, 9, 48), (3, 149, 24), (2, 100, 96)])
def test_hidden_states(name, num_layers, num_frames, dim):
    student = small(name, num_frames, num_layers=num_layers, hidden_dim=dim).eval()
    x = torch.randn(2, num_frames, dim)
    hidden = student(x)
    assert [tuple(h.shape) for h in hidden] == [(2, num_frames, dim)] * (num_layers + 1)
    assert hidden[0] is x
    torch.testing.assert_close(hidden[-1].mean(-1), torch.zeros(2, num_frames), rtol=0, atol=1e-6)  # normed
    assert all(torch.isfinite(h).all() for h in hidden)


@pytest.mark.parametrize("name", STUDENTS)
def test_every_parameter_learns(name):
    student = small(name)
    (torch.randn(11, 48) * student(torch.randn(2, 11, 48))[-1]).sum().backward()
    assert [key for key, p in student.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", STUDENTS)
def test_dropout_is_of_training_alone(name):
    student = small(name, dropout=0.5)
    x = torch.randn(2, 11, 48)
    assert not torch.equal(student(x)[-1], student(x)[-1])
    student.eval()
    assert torch.equal(student(x)[-1], student(x)[-1])
    still = small(name, dropout=0.0)
    assert torch.equal(still(x)[-1], still(x)[-1])


@pytest.mark.parametrize("name", STUDENTS)
def test_states_do_not_hang_on_the_batch(name):
    student, x = small(name, dropout=0.0), torch.randn(3, 11, 48)
    for training in (False, True):
        student.train(training)
        torch.testing.assert_close(student(x)[-1][1:2], student(x[1:2])[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", STUDENTS)
def test_time_is_mixed(name):
    """A change in one frame reaches another frame through one layer."""
    student = small(name, num_layers=1).eval()
    x = torch.randn(1, 11, 48)
    other = x.clone()
    other[0, 5] += torch.randn(48)
    changed = (student(x)[-1] - student(other)[-1]).abs().amax(-1)[0] > 1e-6
    assert changed[4] and changed[6]


@pytest.mark.parametrize("name", STUDENTS)
def test_half_precision(name):
    student = small(name, dropout=0.0)
    x = torch.randn(2, 11, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = student(x)[-1]
    torch.testing.assert_close(found.float(), student(x)[-1], rtol=0, atol=0.15)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers must be positive"),
        ({"hidden_dim": -48}, "hidden_dim must be positive"),
        ({"dropout": 1.0}, "dropout must lie in [0, 1)"),
        ({"dropout": -0.1}, "dropout must lie in [0, 1)"),
        ({"num_layer": 5}, "unknown key 'student.num_layer'. To mend: did you mean 'num_layers'?"),
        ({"hidden_dim": "wide"}, "wrong value for 'student.hidden_dim'; found 'wide'; expected a whole number"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(ConfigError) as raised:
        configure("students", {"name": name, **options}, "student")
    assert message in str(raised.value)


def perturbed(module):
    """The module in evaluation, its norms and biases no longer ones and zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


SWITCHES = [{"lgm": mode, "msm": msm, "gcm": gcm} for mode in ("parallel", "off") for msm in (0, 1) for gcm in (0, 1)]
FUSED = [
    *[("sv_mixer", {**switches, "msm": bool(switches["msm"]), "gcm": bool(switches["gcm"])}) for switches in SWITCHES],
    *[("sv_mixer", {"lgm": "sequential"}), ("mlp_mixer", {}), ("cycle_mlp", {}), ("conv_mixer", {})],
]


@pytest.mark.parametrize(("name", "options"), FUSED)
@pytest.mark.parametrize("num_frames", [11, 12])
def test_fused_for_inference(name, options, num_frames):
    student = perturbed(small(name, num_frames, **options))
    with torch.inference_mode():
        for batch in (1, 3):  # one fused student serves every batch
            x = torch.randn(batch, num_frames, 48)
            expected = student(x)
            for found, wanted in zip(student.fused("float32")(x), expected, strict=True):
                torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
            for found, wanted in zip(student.fused("bfloat16")(x), expected, strict=True):
                assert found.dtype == torch.bfloat16
                assert (found.float() - wanted).norm() < 0.03 * wanted.norm()


def test_what_cannot_be_fused_stays_as_it_is():
    """As a new student's blocks and mixings, which need not offer it."""

    def block(last):
        return MixerBlock(48, torch.nn.Linear(48, 48), torch.nn.Linear(48, 48), 0.1, last) if last else torch.nn.Tanh()

    student = perturbed(BlockStack(StudentConfig(num_layers=2, hidden_dim=48), 11, block))
    x = torch.randn(2, 11, 48)
    with torch.inference_mode():
        for found, wanted in zip(student.fused("float32")(x), student(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        assert student.fused("bfloat16")(x)[-1].dtype == torch.bfloat16
