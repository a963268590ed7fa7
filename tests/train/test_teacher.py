"""Teachers of one's own: a new WavLM, or a backend on a pretrained encoder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from svtk.errors import ConfigError, ModelError
from svtk.models.speaker_model import load_model
from svtk.models.teacher import load_teacher
from svtk.train.brain import SpeakerBrain
from svtk.train.teacher import train_teacher

NEW = {"hidden_dim": 12, "num_layers": 2, "num_heads": 2, "ffn_dim": 16, "conv_channels": 6}


@pytest.fixture
def train(run_of, training, backend_spec):
    def go(model_dir, encoder=None, seed=1, **changes):
        mapping = {**training, "new_model": NEW, "backend": backend_spec, **changes}
        train_teacher(mapping, run_of(model_dir, seed=seed), encoder=encoder)
        return model_dir

    return go


def test_a_new_wavlm(train, tmp_path):
    train(tmp_path / "m", max_epochs=8, lr=3e-3, valid_every=8)
    assert {f.name for f in (tmp_path / "m").iterdir()} == {
        *(
            "classifier.safetensors",
            "config.yaml",
            "encoder",
            "model.safetensors",
            "run.yaml",
            "tensorboard",
            "train.csv",
            "train.json",
        )
    }
    assert {f.name for f in (tmp_path / "m/encoder").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    history = json.loads((tmp_path / "m/train.json").read_text())["history"]
    assert history[-1]["sv"] < 0.9 * history[0]["sv"]
    model, teacher, wav = load_model(tmp_path / "m"), load_teacher(tmp_path / "m"), torch.randn(1, 8000)
    assert all(torch.equal(a, b) for a, b in zip(model.encoder(wav), teacher(wav), strict=True))
    assert teacher.num_hidden == 3 and teacher.frozen and teacher.normalize_wav


def test_a_pretrained_encoder_learns_where_it_is_asked_to(train, wavlm_dir, tmp_path):
    train(tmp_path / "m", encoder=wavlm_dir, train_encoder=True, max_epochs=1, valid_every=1)
    wav = torch.randn(1, 8000)
    before, after = load_teacher(wavlm_dir)(wav)[-1], load_teacher(tmp_path / "m")(wav)[-1]
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(load_model(tmp_path / "m").encoder(wav)[-1], after)


def test_encoder_and_backend_learn_together(train, tmp_path):
    still = train(tmp_path / "still", max_epochs=1, lr=1e-12)
    moved = train(tmp_path / "moved", max_epochs=1)
    for file in ("encoder/model.safetensors", "model.safetensors"):
        before, after = load_file(still / file), load_file(moved / file)
        same = {k for k, v in after.items() if v.is_floating_point() and torch.equal(before[k], v)}
        assert same <= {"masked_spec_embed"}


def test_killed_and_resumed(train, tmp_path, killed, monkeypatch):
    train(tmp_path / "whole")

    def work():
        torch.set_num_threads(1)
        forward = SpeakerBrain.compute_forward

        def dying(self, batch, stage):
            if (self.state.epoch, self.step) == (1, 3):
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, batch, stage)

        monkeypatch.setattr(SpeakerBrain, "compute_forward", dying)
        train(tmp_path / "broken")

    killed(work)
    assert not (tmp_path / "broken/encoder").exists()
    train(tmp_path / "broken")
    for file in ("encoder/model.safetensors", "model.safetensors"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize("cache_hidden", [0, 1])
def test_a_backend_on_a_pretrained_encoder(train, tmp_path, wavlm_dir, monkeypatch, cache_hidden):
    before = {f.name: f.read_bytes() for f in Path(wavlm_dir).iterdir()}
    monkeypatch.chdir(Path(wavlm_dir).parent)
    train(tmp_path / "m", encoder=Path(wavlm_dir).name, cache_hidden=cache_hidden)  # a relative path
    assert {f.name: f.read_bytes() for f in Path(wavlm_dir).iterdir()} == before
    assert not (tmp_path / "m/encoder").exists()
    assert all(key.startswith("backend.") for key in load_file(tmp_path / "m/model.safetensors"))
    monkeypatch.chdir(tmp_path)
    model = load_model(tmp_path / "m")
    assert model.config.teacher == {"name": "wavlm", "source": wavlm_dir}
    wav = torch.randn(1, 8000)
    assert all(torch.equal(a, b) for a, b in zip(model.encoder(wav), load_teacher(wavlm_dir)(wav), strict=True))


def test_a_whisper_encoder(train, tmp_path):
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
    WhisperEncoder(WhisperConfig(**sizes)).save_pretrained(tmp_path / "whisper")
    train(tmp_path / "m", encoder=str(tmp_path / "whisper"), max_epochs=1)
    model = load_model(tmp_path / "m")
    assert model.window_frames == 25 and model.embed_cover([torch.randn(20_000)]).shape == (1, 6)


def test_a_rerun_does_nothing_and_another_is_refused(train, tmp_path, monkeypatch, wavlm_dir):
    train(tmp_path / "m", max_epochs=1)
    with pytest.raises(ModelError, match="a difference in inputs.encoder"):
        train(tmp_path / "m", encoder=wavlm_dir, max_epochs=1)
    with pytest.raises(ModelError, match="a difference in seed"):
        train(tmp_path / "m", seed=2, max_epochs=1)
    monkeypatch.setattr(SpeakerBrain, "fit", None)
    train(tmp_path / "m", max_epochs=1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"new_model": {"hidden_dim": 10, "num_heads": 4}}, ConfigError, "10 is not a multiple of num_heads 4"),
        ({"new_model": {"width": 10}}, ConfigError, "unknown key 'new_model.width'"),
        ({"kd_losses": []}, ConfigError, "unknown key 'kd_losses'"),
        ({"encoder": "/no/such"}, ModelError, "/no/such: no such directory, and not to be had from the hub"),
    ],
)
def test_what_cannot_be_trained(train, tmp_path, changes, error, message):
    with pytest.raises(error) as raised:
        train(tmp_path / "m", **changes)
    assert message in str(raised.value)
