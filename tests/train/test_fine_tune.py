"""Large-margin fine-tuning: all of a student goes on, on crops of several windows, from the classes it knew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from svtk.data.crops import CropDataset
from svtk.data.cuts import load_utterances
from svtk.errors import ConfigError, ModelError
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.models.speaker_model import SpeakerModel, load_model
from svtk.models.teacher import load_teacher
from svtk.train.brain import SpeakerBrain
from svtk.train.classifier import mean_embeddings
from svtk.train.fine_tune import FineTuneConfig, fine_tune
from svtk.train.teacher import train_teacher

TUNING = {
    **{"crop_duration": 1.0, "batch_size": 4, "max_epochs": 2, "lr": 1e-3, "augment": {"prob": 0.5}},
    "sv_loss": {"name": "aam_softmax", "margin": 0.4, "top_k_penalty": "none"},
}


@pytest.fixture
def tune(run_of):
    def go(model_dir, model, noise=None, **changes):
        sides = {key: changes.pop(key) for key in ("train_dir", "seed") if key in changes}
        fine_tune({**TUNING, **changes}, run_of(model_dir, noise=noise, **sides), model=str(model))
        return model_dir

    return go


def all_learned(before, after):
    first, last = (load_file(directory / "model.safetensors") for directory in (before, after))
    return [key for key, value in last.items() if value.is_floating_point() and torch.equal(first[key], value)] == []


def test_a_distilled_student_goes_on(whole, tune, corpus, tmp_path, history, caplog):
    file = (whole / "model.safetensors").read_bytes()
    with caplog.at_level("INFO"):
        tune(tmp_path / "m", whole, corpus.noise, max_epochs=10, lr=1e-2, valid_every=10)
    assert f"speaker classes go on from {whole}/classifier.safetensors" in caplog.text
    assert all_learned(whole, tmp_path / "m") and (whole / "model.safetensors").read_bytes() == file
    records = history(tmp_path / "m")
    assert records[-1]["sv"] < 0.8 * records[0]["sv"]
    model = load_model(tmp_path / "m")
    assert model.config.window == 0.5 and model.config == load_model(whole).config
    note = yaml.safe_load((tmp_path / "m/run.yaml").read_text())
    assert note["verb"] == "fine-tune" and note["inputs"]["model"]["path"] == str(whole)
    assert note["config"]["sv_loss"]["margin"] == 0.4 and note["config"]["sv_loss"]["scale"] == 30.0


def test_it_begins_where_the_other_run_ended(whole, tune, tmp_path):
    still = tune(tmp_path / "m", whole, lr=1e-12, max_epochs=1)
    for name in ("model", "classifier"):
        before, after = (load_file(directory / f"{name}.safetensors") for directory in (whole, still))
        weights = [key for key in before if "running" not in key and before[key].is_floating_point()]
        for key in weights:
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=1e-6)
    with safe_open(still / "classifier.safetensors", framework="pt") as opened:
        assert json.loads(opened.metadata()["speakers"]) == ["s0", "s1", "s2", "s3"]


@pytest.mark.parametrize("why", ["none there", "another loss", "other speakers"])
def test_classes_begin_at_mean_embeddings(whole, tune, corpus, tmp_path, caplog, why):
    source, changes = tmp_path / "source", {}
    shutil.copytree(whole, source)
    message = "is of other speakers or another loss: speaker classes begin at mean embeddings"
    if why == "none there":
        (source / "classifier.safetensors").unlink()
        message = "cannot be read: speaker classes begin at mean embeddings"
    elif why == "another loss":
        changes["sv_loss"] = {"name": "sphereface2"}
    else:
        some = [utt for utt in read_data_dir(corpus.train).utterances if utt.spk != "s0"]
        changes["train_dir"] = str(write_data_dir(tmp_path / "data", some).path)
    with caplog.at_level("INFO"):
        tune(tmp_path / "m", source, lr=1e-12, max_epochs=1, **changes)
    assert message in caplog.text
    found = torch.nn.functional.normalize(load_file(tmp_path / "m/classifier.safetensors")["weight"])
    crops = CropDataset(load_utterances(changes.get("train_dir", corpus.train)), 16_000, seed=1)
    model, rows = load_model(source), [[] for _ in crops.speakers]
    for example in crops:
        with torch.no_grad():
            embedding = model(torch.from_numpy(example["wav"])[None])[1][0]
        rows[example["label"]].append(embedding / embedding.norm())
    expected = torch.stack([sum(some) for some in rows])
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected), rtol=0, atol=1e-4)


def test_mean_embeddings_hear_every_utterance(student_dir, corpus):
    """The smaller batch that training drops, too."""
    crops = CropDataset(load_utterances(corpus.train), 8000)
    model = load_model(student_dir)
    five, all_at_once = (
        mean_embeddings(model, torch.utils.data.DataLoader(crops, size, collate_fn=crops.collate), 4)
        for size in (5, 16)
    )
    torch.testing.assert_close(five, all_at_once)
    torch.testing.assert_close(five.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("crop_duration", [0.5, 0.7, 0.98, 1.3])
def test_crops_of_any_length(whole, tune, tmp_path, monkeypatch, crop_duration):
    heard, forward = set(), SpeakerModel.forward

    def listening(self, wav):
        hidden, embedding = forward(self, wav)
        heard.add((wav.shape[1], hidden[0].shape[1]))
        return hidden, embedding

    monkeypatch.setattr(SpeakerModel, "forward", listening)
    tune(tmp_path / "m", whole, crop_duration=crop_duration, max_epochs=1)
    samples = round(crop_duration * 16_000)
    assert heard == {(samples, 24 + (samples - 8000) // 320)}


class Stop(Exception):
    pass


def stop(*_, **__):
    raise Stop


@pytest.mark.parametrize("epoch", [1, 2])
def test_resumed_it_is_the_same(student_dir, tune, corpus, tmp_path, stop_at, monkeypatch, epoch):
    """From mean embeddings, which a run that goes on does not need again."""
    tune(tmp_path / "whole", student_dir, corpus.noise)
    stop_at(epoch, 2, stop)
    with pytest.raises(Stop):
        tune(tmp_path / "broken", student_dir, corpus.noise)
    monkeypatch.undo()
    if epoch == 2:
        monkeypatch.setattr("svtk.train.classifier.mean_embeddings", stop)
    tune(tmp_path / "broken", student_dir, corpus.noise)
    for name in ("model.safetensors", "classifier.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_sub_centres_are_drawn_by_the_seed(student_dir, tune, tmp_path):
    """Around mean embeddings, whatever was drawn before."""
    for name in ("one", "other"):
        torch.rand(1)
        tune(tmp_path / name, student_dir, max_epochs=1, sv_loss={"name": "subcenter_aam", "top_k_penalty": "none"})
    one, other = (load_file(tmp_path / name / "classifier.safetensors")["weight"] for name in ("one", "other"))
    assert torch.equal(one, other) and not torch.equal(one[0], one[1])


@pytest.fixture
def teacher_on(run_of, training, wavlm_dir, tmp_path):
    """A backend on a frozen pretrained encoder."""
    mapping = {**training, "max_epochs": 1, "backend": {"name": "linear", "embedding_dim": 6}}
    train_teacher(mapping, run_of(tmp_path / "teacher"), encoder=wavlm_dir)
    return tmp_path / "teacher"


def test_a_teachers_encoder_learns_where_it_is_asked_to(teacher_on, tune, wavlm_dir, tmp_path):
    """And lies in the MODEL_DIR; the pretrained one stays as it was."""
    pretrained = (Path(wavlm_dir) / "model.safetensors").read_bytes()
    tune(tmp_path / "m", teacher_on, train_encoder=True, lr=1e-3)
    assert (Path(wavlm_dir) / "model.safetensors").read_bytes() == pretrained
    assert all_learned(teacher_on, tmp_path / "m")
    wav = torch.randn(1, 8000)
    before, after = load_teacher(wavlm_dir)(wav), load_teacher(tmp_path / "m")(wav)
    assert not any(torch.equal(a, b) for a, b in zip(before[1:], after[1:], strict=True))
    model = load_model(tmp_path / "m")
    assert all(torch.equal(a, b) for a, b in zip(model.encoder(wav), after, strict=True))
    said = yaml.safe_load((teacher_on / "config.yaml").read_text())["teacher"]
    assert yaml.safe_load((tmp_path / "m/config.yaml").read_text())["teacher"] == {**said, "source": "encoder"}
    shutil.move(tmp_path / "m", tmp_path / "elsewhere")
    assert torch.equal(load_model(tmp_path / "elsewhere")(wav)[1], model(wav)[1])


def test_an_encoder_that_learns_begins_where_the_other_run_ended(teacher_on, tune, tmp_path):
    tune(tmp_path / "m", teacher_on, train_encoder=True, lr=1e-12, max_epochs=1)
    wav = torch.randn(1, 8000)
    before, after = (load_model(directory).encoder(wav) for directory in (teacher_on, tmp_path / "m"))
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_an_encoder_that_learns_resumes(teacher_on, tune, tmp_path, stop_at, monkeypatch):
    tune(tmp_path / "whole", teacher_on, train_encoder=True)
    stop_at(2, 2, stop)
    with pytest.raises(Stop):
        tune(tmp_path / "broken", teacher_on, train_encoder=True)
    monkeypatch.undo()
    tune(tmp_path / "broken", teacher_on, train_encoder=True)
    for name in ("model.safetensors", "encoder/model.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_teachers_encoder_stays(run_of, tune, training, tmp_path):
    new = {"hidden_dim": 12, "num_layers": 1, "num_heads": 2, "ffn_dim": 16, "conv_channels": 6}
    linear = {"name": "linear", "embedding_dim": 6}
    train_teacher({**training, "max_epochs": 1, "new_model": new, "backend": linear}, run_of(tmp_path / "teacher"))
    encoder = (tmp_path / "teacher/encoder/model.safetensors").read_bytes()
    tune(tmp_path / "m", tmp_path / "teacher")
    assert (tmp_path / "teacher/encoder/model.safetensors").read_bytes() == encoder
    assert all_learned(tmp_path / "teacher", tmp_path / "m")
    before, after = (load_model(tmp_path / name) for name in ("teacher", "m"))
    wav = torch.randn(1, 8000)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(before.encoder(wav), after.encoder(wav), strict=True))
        assert not torch.equal(before(wav)[1], after(wav)[1])


def test_a_rerun_does_nothing_and_another_is_refused(whole, student_dir, tune, tmp_path, monkeypatch):
    tune(tmp_path / "m", whole, max_epochs=1)
    with pytest.raises(ModelError, match=r"a difference in inputs\.model"):
        tune(tmp_path / "m", student_dir, max_epochs=1)
    monkeypatch.setattr(SpeakerBrain, "fit", None)
    tune(tmp_path / "m", whole, max_epochs=1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"crop_duration": 0.4}, ConfigError, "shorter than a window of the model; found crop_duration 0.4; expected"),
        ({"sv_loss": {"name": "hidden_mse"}}, ConfigError, "'hidden_mse' of losses does not serve here"),
        ({"backend": {"name": "linear"}}, ConfigError, "unknown key 'backend'"),
        ({"model": "/no/such"}, ModelError, "/no/such: not a model directory"),
    ],
)
def test_what_cannot_be_tuned(tune, student_dir, tmp_path, changes, error, message):
    with pytest.raises(error) as raised:
        tune(tmp_path / "m", changes.pop("model", student_dir), **changes)
    assert message in str(raised.value) and not Path(tmp_path / "m/model.safetensors").exists()


def test_a_large_margin_is_the_default():
    config = FineTuneConfig()
    assert config.sv_loss == {"name": "aam_softmax", "margin": 0.5, "top_k_penalty": "none"}
    assert config.crop_samples == 2 * 48_000 - 320  # two windows of 149 frames touch
    assert (config.max_epochs, config.lr, config.schedule) == (5, 2e-5, "cosine")
