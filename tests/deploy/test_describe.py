"""Parameters and MACs against the paper and against counts by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from svtk.deploy.describe import count_macs, describe, format_description
from svtk.errors import ConfigError, ModelError

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


@pytest.mark.parametrize(
    ("name", "block", "gmacs"), [("sv_mixer", 3_745_969, 0.632), ("transformer", 8_399_872, 1.295)]
)
def test_the_papers_students(name, block, gmacs):
    found = describe(CONF / f"distill_{name}.yaml")
    parts = {part["name"]: part for part in found["parts"]}
    assert list(parts) == ["frontend", *(f"block {i}" for i in range(1, 6)), "backend"]
    for index in range(1, 6):
        assert parts[f"block {index}"]["parameters"] == block
        assert parts[f"block {index}"]["macs"] / 1e9 == pytest.approx(gmacs, abs=5e-4)
    assert parts["frontend"]["macs"] / 1e9 == pytest.approx(7.4, abs=0.05)
    final_norm = 2 * 1024
    assert found["parameters"] == sum(part["parameters"] for part in found["parts"]) + final_norm
    assert found["macs"] == sum(part["macs"] for part in found["parts"])
    assert (found["duration"], found["window"]) == (3.0, 3.0)
    if name == "sv_mixer":
        assert f"{found['parameters'] / 1e6:.2f}" == "32.07"
        assert found["macs"] / 1e9 == pytest.approx(11.9, abs=0.2)  # the authors' figure


def test_a_model_dir(student_dir):
    """Longer audio takes more windows, of which the last may overlap the one before."""
    found = describe(student_dir, 0.5)
    assert [part["name"] for part in found["parts"]] == ["frontend", "block 1", "backend"]
    assert found["macs"] == sum(part["macs"] for part in found["parts"])
    encoder = found["macs"] - found["parts"][-1]["macs"]
    for duration, windows in ((0.1, 1), (0.5, 1), (0.9, 2), (0.98, 2), (1.2, 3)):
        longer = describe(student_dir, duration)
        assert longer["parameters"] == found["parameters"] and longer["parts"] == found["parts"]
        assert longer["duration"] == max(0.5, duration)
        assert longer["macs"] - found["parts"][-1]["macs"] == windows * encoder


def test_a_teacher(wavlm_dir, tmp_path):
    from svtk.models.speaker_model import ModelConfig, build_model, save_model

    config = ModelConfig("teacher", 0.5, {"name": "linear"}, teacher={"name": "wavlm", "source": wavlm_dir})
    save_model(build_model(config), tmp_path)
    found = describe(tmp_path, 0.5)
    assert [part["name"] for part in found["parts"]] == ["teacher", "backend"]
    assert found["parameters"] == sum(part["parameters"] for part in found["parts"])
    assert found["parts"][0]["macs"] > 24 * 2 * (4 * 12 * 12 + 2 * 12 * 16)


def test_as_a_table(student_dir):
    lines = format_description(describe(student_dir)).splitlines()
    assert lines[0].split() == ["part", "parameters", "(M)", "GMACs", "per", "0.5", "s"]
    assert [line.split()[0] for line in lines[1:]] == ["frontend", "block", "backend", "all,"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 3\n", "no student here; expected a MODEL_DIR or a configuration of svtk distill"),
        ("student: {name: sv_mixer, layers: 3}\n", "unknown key 'student.layers'. To mend: did you mean 'num_layers'?"),
        ("student: [\n", ":2: not valid YAML"),
    ],
)
def test_a_wrong_configuration(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        describe(tmp_path / "c.yaml")
    assert str(raised.value).startswith(f"{tmp_path}/c.yaml:") and message in str(raised.value)


def test_a_directory_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="not a model directory"):
        describe(tmp_path)
