"""Teacher targets of some utterances, and the teacher for the others: the weights that all targets give."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from svtk.errors import ConfigError
from svtk.extract.targets import extract_targets
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.teachers import wavlm


@pytest.fixture
def some(corpus, tmp_path):
    """A data directory of every second or third utterance of the training data."""
    utterances = [u for i, u in enumerate(read_data_dir(corpus.train).utterances) if i % 5 < 2]
    return str(write_data_dir(tmp_path / "some", utterances).path)


@pytest.mark.parametrize("frontend", ["waveform_conv", "log_mel"])
def test_the_same_weights_as_with_all_targets(distil, tmp_path, wavlm_dir, corpus, some, frontend):
    kd = "kd_losses=[{name: hidden_mse}, {name: hidden_mse, teacher_layer: 1, student_layer: 0, weight: 2}]"
    settings = (kd, f"frontend={{name: {frontend}, channels: 6}}")
    weights = {}
    for name, data in (("all", corpus.train), ("some", some)):
        targets = str(tmp_path / f"targets_{name}")
        extract_targets(wavlm_dir, data, targets, layers="1,last", min_duration=0.5)
        sides = {"targets": targets} if name == "all" else {"targets": targets, "teacher": wavlm_dir}
        weights[name] = load_file(distil(tmp_path / name, *settings, **sides) / "model.safetensors")
    assert weights["all"].keys() == weights["some"].keys()
    for key, weight in weights["all"].items():
        assert weight.equal(weights["some"][key]), key
    crops = load_file(distil(tmp_path / "crops", *settings, teacher=wavlm_dir) / "model.safetensors")
    assert any(not weight.equal(crops[key]) for key, weight in weights["all"].items())


def test_targets_of_another_teacher(distil, tmp_path, wavlm_dir, some):
    other = str(tmp_path / "other")
    wavlm.create(wavlm.NewModel(hidden_dim=12, num_layers=2, num_heads=2, ffn_dim=16, conv_channels=6)).save_pretrained(
        other
    )
    extract_targets(other, some, tmp_path / "targets", min_duration=0.5)
    with pytest.raises(ConfigError, match="targets: teacher targets were made by another teacher; found .*other"):
        distil(tmp_path / "m", targets=str(tmp_path / "targets"), teacher=wavlm_dir)


def test_normalised_by_the_statistics_of_all_targets(distil, tmp_path, wavlm_dir, corpus, history):
    targets = str(tmp_path / "targets")
    extract_targets(wavlm_dir, corpus.train, targets, min_duration=0.5)
    kd = "kd_losses=[{name: hidden_mse, normalize: corpus, weight: 0}]"
    [record] = history(distil(tmp_path / "m", kd, "max_epochs=1", "batch_size=16", targets=targets))
    assert 0.9 < record["hidden_mse"] < 4
    with pytest.raises(ConfigError, match="hidden_mse has no statistics of the corpus"):
        distil(tmp_path / "n", kd, teacher=wavlm_dir)
