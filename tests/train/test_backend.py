"""Another backend on a frozen encoder: the encoder stays as it is, bit for bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from svtk.errors import ConfigError, DataError, ModelError
from svtk.models.speaker_model import load_model
from svtk.train.backend import train_backend
from svtk.train.brain import SpeakerBrain
from svtk.train.teacher import train_teacher


@pytest.fixture
def train(run_of, student_dir, training, backend_spec):
    def go(model_dir, student=student_dir, **changes):
        noise = {key: changes.pop(key) for key in ("noise", "seed") if key in changes}
        train_backend(
            {**training, "backend": backend_spec, **changes}, run_of(model_dir, **noise), student=str(student)
        )
        return model_dir

    return go


def weights(directory, part):
    return {k: v for k, v in load_file(f"{directory}/model.safetensors").items() if k.startswith(f"{part}.")}


@pytest.mark.parametrize("cache_hidden", [0, 1, 2])
def test_the_encoder_stays_and_the_backend_learns(train, student_dir, tmp_path, cache_hidden):
    before, file = weights(student_dir, "encoder"), Path(student_dir, "model.safetensors").read_bytes()
    train(tmp_path / "m", cache_hidden=cache_hidden, lr=5e-3, max_epochs=8, valid_every=8)
    after = weights(tmp_path / "m", "encoder")
    assert before.keys() == after.keys() and all(torch.equal(after[k], v) for k, v in before.items())
    assert Path(student_dir, "model.safetensors").read_bytes() == file
    summary = json.loads((tmp_path / "m/train.json").read_text())
    assert summary["history"][-1]["sv"] < 0.9 * summary["history"][0]["sv"]
    model = load_model(tmp_path / "m")
    assert model.config.backend["name"] == "ecapa_tdnn" and model.config.student["name"] == "sv_mixer"
    assert model.embed_cover([torch.randn(9000)]).shape == (1, 6)


@pytest.mark.parametrize("cache_hidden", [0, 2])
def test_resumed_it_is_the_same(train, tmp_path, monkeypatch, killed, cache_hidden):
    train(tmp_path / "whole", cache_hidden=cache_hidden)

    def work():
        torch.set_num_threads(1)
        forward = SpeakerBrain.compute_forward

        def dying(self, batch, stage):
            if self.state.epoch == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, batch, stage)

        monkeypatch.setattr(SpeakerBrain, "compute_forward", dying)
        train(tmp_path / "broken", cache_hidden=cache_hidden)

    killed(work)
    train(tmp_path / "broken", cache_hidden=cache_hidden)
    found, expected = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("broken", "whole"))
    assert found == expected


def test_cached_hidden_states_are_those_of_the_crops(train, tmp_path, run_of, student_dir, training):
    """Utterances of one window have no other crop: both ways see the same frames, up to float16."""
    from svtk.config import from_mapping
    from svtk.train.backend import BackendConfig

    model = load_model(student_dir)
    model.freeze_encoder()
    run, config = run_of(tmp_path / "m", noise=None), from_mapping(BackendConfig, training)
    cached = run.frozen_encoder_crops(model, from_mapping(BackendConfig, {**training, "cache_hidden": 1}))
    crops = run.frozen_encoder_crops(model, config)
    assert cached.speakers == crops.speakers and len(cached) == len(crops) == 16
    for index in (0, 1, 4, 5):  # 0.3 s, repeated, and 0.5 s
        hidden, label = cached[index]
        with torch.no_grad():
            expected = model.encoder(torch.from_numpy(crops[index]["clean"])[None])
        assert label == crops[index]["label"]
        torch.testing.assert_close(hidden.float(), torch.cat(expected), rtol=1e-3, atol=1e-3)


def test_too_much_for_the_memory(train, tmp_path, monkeypatch):
    monkeypatch.setattr("svtk.train.hidden_cache._available_memory", lambda: 100.0)
    with pytest.raises(ConfigError, match="hidden states do not fit into memory; found 0.0 GiB free.*cache_hidden=0"):
        train(tmp_path / "m", cache_hidden=1)


FUSION = {
    **{"name": "redimnet_fusion", "num_injected": 1, "num_mels": 10, "embedding_dim": 6},
    "layout": {"frequencies": 4, "channels": 4, "stages": [{"reduction": 4}]},
}


def test_a_backend_that_hears_the_wav(train, tmp_path):
    """Learns from crops, and has no place where there are cached hidden states alone."""
    train(tmp_path / "m", backend=FUSION, max_epochs=1)
    assert load_model(tmp_path / "m").embed_cover([torch.randn(9000)]).shape == (1, 6)
    with pytest.raises(
        ConfigError, match=r"hears the wav.*found backend redimnet_fusion, cache_hidden 2.*cache_hidden=0"
    ):
        train(tmp_path / "n", backend=FUSION, cache_hidden=2)


def test_windows_are_the_students(train, tmp_path):
    train(tmp_path / "m", crop_duration=2.0)
    assert load_model(tmp_path / "m").config.window == 0.5
    assert yaml.safe_load((tmp_path / "m/run.yaml").read_text())["config"]["crop_duration"] == 0.5


def test_on_a_teacher_of_ones_own(train, run_of, training, tmp_path):
    """The new MODEL_DIR finds the encoder that stays in the teacher's."""
    new = {"hidden_dim": 12, "num_layers": 1, "num_heads": 2, "ffn_dim": 16, "conv_channels": 6}
    linear = {"name": "linear", "embedding_dim": 6}
    train_teacher({**training, "new_model": new, "backend": linear}, run_of(tmp_path / "teacher"))
    encoder = (tmp_path / "teacher/encoder/model.safetensors").read_bytes()
    train(tmp_path / "m", tmp_path / "teacher", backend={"name": "linear", "embedding_dim": 5})
    assert (tmp_path / "teacher/encoder/model.safetensors").read_bytes() == encoder
    assert load_model(tmp_path / "m").embed_cover([torch.randn(8000)]).shape == (1, 5)


def test_a_rerun_does_nothing_and_another_is_refused(train, tmp_path, monkeypatch):
    train(tmp_path / "m", max_epochs=1)
    with pytest.raises(ModelError, match=r"a difference in config\.backend\.name"):
        train(tmp_path / "m", max_epochs=1, backend={"name": "linear"}, seed=1)
    monkeypatch.setattr(SpeakerBrain, "fit", None)
    train(tmp_path / "m", max_epochs=1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"backend": {"name": "linear", "dim": 3}}, ConfigError, "unknown key 'backend.dim'"),
        ({"student_": {}}, ConfigError, "unknown key 'student_'"),
        ({"cache_hidden": -1}, ConfigError, "cache_hidden must not be negative"),
        ({"student": "/no/such"}, ModelError, "/no/such: not a model directory"),
        ({"noise": "/no/such"}, DataError, "/no/such: no noise here"),
    ],
)
def test_what_cannot_be_trained(train, tmp_path, changes, error, message):
    with pytest.raises(error) as raised:
        train(tmp_path / "m", **changes)
    assert message in str(raised.value)
