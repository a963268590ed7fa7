"""Parameters and MACs against the paper and against counts by hand."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from svtk.cli._models import open_model
from svtk.deploy.describe import count, count_macs, describe, format_description
from svtk.models.speaker_model import ModelConfig, build_model, load_model

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Linear(3, 5), (2, 7, 3), 2 * 7 * 3 * 5),
        (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9), 2 * 5 * 6 * 4 * 3),
        (nn.Conv1d(4, 4, 3, padding=1, groups=4), (1, 4, 9), 9 * 4 * 3),
        (nn.Conv1d(4, 8, 3, padding=1, groups=2), (1, 4, 9), 9 * 8 * 2 * 3),
        (nn.Sequential(nn.LayerNorm(3), nn.GELU(), nn.Dropout()), (2, 7, 3), 0),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 9, 8), 9 * (4 * 64 + 2 * 8 * 16) + 2 * 81 * 8),
    ],
)
def test_counted_by_hand(module, shape, macs):
    assert count_macs(module, torch.zeros(shape)) == macs
    assert torch.backends.mha.get_fastpath_enabled()


def test_activations_counted_by_hand():
    def activations(module, *shape):
        return count(module, torch.zeros(shape)).activations

    assert activations(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.GELU()), 2, 7, 3) == 2 * 7 * 5
    assert activations(nn.Conv1d(4, 6, 3, stride=2, padding=1), 2, 4, 9) == 2 * 6 * 5
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)  # q k v, scores, their values, out, up, down
    assert activations(layer, 1, 9, 8) == 9 * (3 * 8) + 2 * 9 * 9 + 9 * 8 + 9 * 8 + 9 * 16 + 9 * 8


def test_counting_changes_no_weight():
    layer = nn.Linear(3, 5)
    layer.bias.requires_grad_(False)
    count(layer, torch.zeros(2, 3))
    assert layer.weight.requires_grad and not layer.bias.requires_grad and layer.weight.grad is None


@pytest.fixture(scope="module")
def described():
    """The description of a configuration of students, by its file name without the ending and its depth."""

    @functools.cache
    def of(name: str, num_layers: int = 5):
        return describe(open_model(str(CONF / f"{name}.yaml"), overrides=[f"student.num_layers={num_layers}"]))

    return of


def add_up(description):
    parts = description["parts"]
    for key in ("parameters", "activations", "macs"):
        assert description[key] == sum(part[key] for part in parts), key
    assert sum(part["parameters_share"] for part in parts) == pytest.approx(1)
    assert sum(part["macs_share"] for part in parts) == pytest.approx(1)
    return True


@pytest.mark.parametrize(
    ("name", "block", "gmacs"),
    [
        ("distill_sv_mixer", 3_745_969, 0.632),
        ("distill_transformer", 8_399_872, 1.295),
        ("distill_cycle_mlp", 9_447_424, 1.406),
    ],
)
def test_the_papers_students(described, name, block, gmacs):
    found = described(name)
    parts = {part["name"]: part for part in found["parts"]}
    assert list(parts) == ["frontend", "projection", *(f"block {i}" for i in range(1, 6)), "final norm", "backend"]
    for index in range(1, 6):
        assert parts[f"block {index}"]["parameters"] == block
        assert parts[f"block {index}"]["macs"] / 1e9 == pytest.approx(gmacs, abs=5e-4)
    assert parts["frontend"]["macs"] / 1e9 == pytest.approx(7.4, abs=0.05)
    assert parts["projection"]["parameters"] == 2 * 512 + 512 * 1024 + 1024
    assert parts["projection"]["macs"] == 149 * 512 * 1024
    assert parts["final norm"] == {
        **{"name": "final norm", "parameters": 2 * 1024, "macs": 0, "activations": 0},
        **{"parameters_share": 2048 / found["parameters"], "macs_share": 0.0},
    }
    assert add_up(found) and (found["duration"], found["window"]) == (3.0, 3.0)
    if name == "distill_sv_mixer":
        assert f"{found['parameters'] / 1e6:.2f}" == "32.07"


@pytest.mark.parametrize(("num_layers", "gmacs"), [(5, 11.9), (17, 19.4)])
def test_the_released_sizes(described, num_layers, gmacs):
    """PAPER, Figure 5: what the authors released, with the paper's frontend and ECAPA-TDNN, per 3 s."""
    assert described("distill_sv_mixer", num_layers)["macs"] / 1e9 == pytest.approx(gmacs, rel=0.02)


def test_longer_audio(student_dir):
    """It takes more windows, of which the last may overlap the one before."""
    model = load_model(student_dir)
    found = describe(model, 0.5)
    assert [part["name"] for part in found["parts"]] == ["frontend", "projection", "block 1", "final norm", "backend"]
    assert add_up(found)
    encoder = found["macs"] - found["parts"][-1]["macs"]
    for duration, windows in ((0.1, 1), (0.5, 1), (0.9, 2), (0.98, 2), (1.2, 3)):
        longer = describe(model, duration)
        assert longer["parameters"] == found["parameters"] and longer["parts"] == found["parts"]
        assert longer["duration"] == max(0.5, duration)
        assert longer["macs"] - found["parts"][-1]["macs"] == windows * encoder


def test_a_teacher(wavlm_dir):
    config = ModelConfig("teacher", 0.5, {"name": "linear"}, teacher={"name": "wavlm", "source": wavlm_dir})
    found = describe(build_model(config), 0.5)
    assert [part["name"] for part in found["parts"]] == ["teacher", "backend"] and add_up(found)
    assert found["parts"][0]["macs"] > 24 * 2 * (4 * 12 * 12 + 2 * 12 * 16)


def test_as_a_table(student_dir):
    lines = format_description(describe(load_model(student_dir))).splitlines()
    assert lines[0].split() == [
        *("part", "parameters", "(M)", "%"),
        *("GMACs", "per", "0.5", "s", "%"),
        *("activations", "(M)"),
    ]
    assert [line.split()[0] for line in lines[1:]] == [
        "frontend",
        "projection",
        "block",
        "final",
        "backend",
        "all,",
        "all,",
    ]
    assert [line[:10].strip() for line in lines[-2:]] == ["all, 0.5 s", "all, 3 s"]
    assert len({len(line) for line in lines}) == 1
