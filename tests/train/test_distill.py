"""Distillation end to end on a corpus of seconds: what is written, and what is learned."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from svtk.errors import ModelError
from svtk.extract.targets import extract_targets
from svtk.models.speaker_model import load_model


def test_a_model_dir(whole, corpus):
    assert {f.name for f in whole.iterdir()} == {
        *(
            "config.yaml",
            "model.safetensors",
            "classifier.safetensors",
            "run.yaml",
            "train.json",
            "train.csv",
            "tensorboard",
        )
    }
    model = load_model(whole)
    assert model.config.kind == "student" and model.config.window == 0.5 and model.embedding_dim == 6
    summary = json.loads((whole / "train.json").read_text())
    assert (summary["seed"], summary["epochs"]) == (1, 2)
    assert [record["epoch"] for record in summary["history"]] == [1, 2]
    eers = [record["eer"] for record in summary["history"]]
    assert summary["valid_eer"] == min(eers) and summary["best_epoch"] == 1 + eers.index(min(eers))
    for record in summary["history"]:
        assert record["loss"] == pytest.approx(record["sv"] + 0.5 * record["hidden_mse"], rel=1e-5)
    note = yaml.safe_load((whole / "run.yaml").read_text())
    assert note["verb"] == "distill" and note["seed"] == 1 and note["inputs"]["train"]["path"] == corpus.train
    assert note["config"]["student"]["lgm"] == "parallel" and note["config"]["stop_patience"] == 10


def test_tensorboard(whole, history):
    events = EventAccumulator(str(whole / "tensorboard")).Reload()
    assert {"loss", "sv", "hidden_mse", "eer", "lr"} <= set(events.Tags()["scalars"])
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(record["epoch"], pytest.approx(record["loss"], rel=1e-6)) for record in history(whole)]


def test_a_seed_is_a_run(whole, distil, tmp_path):
    weights = (whole / "model.safetensors").read_bytes()
    assert (distil(tmp_path / "again") / "model.safetensors").read_bytes() == weights
    assert (distil(tmp_path / "other", seed=2) / "model.safetensors").read_bytes() != weights


def test_workers_and_cached_audio_change_nothing(whole, distil, tmp_path):
    model = distil(tmp_path / "m", "num_workers=2", "cache_audio=true")
    assert (model / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


# What is learned


def test_student_and_backend_learn_and_the_teacher_does_not(distil, tmp_path, wavlm_dir):
    weights = load_file(f"{wavlm_dir}/model.safetensors")
    first = load_file(distil(tmp_path / "a", "max_epochs=1", "lr=1e-12") / "model.safetensors")
    after = load_file(distil(tmp_path / "b", "max_epochs=1") / "model.safetensors")
    still = {key for key, value in after.items() if value.is_floating_point() and torch.equal(first[key], value)}
    assert not still
    now = load_file(f"{wavlm_dir}/model.safetensors")
    assert all(torch.equal(weights[key], now[key]) for key in weights)


def test_the_loss_falls(distil, tmp_path, history):
    records = history(distil(tmp_path / "m", "max_epochs=12", "lr=5e-3", "student.dropout=0", noise=None))
    assert records[-1]["sv"] < 0.7 * records[0]["sv"] and records[-1]["hidden_mse"] < 0.97 * records[0]["hidden_mse"]


def test_half_precision(distil, tmp_path, history):
    """bfloat16 in the forward pass; losses, weights and what is saved stay float32."""
    settings = ("max_epochs=1", "lr=1e-6", "student.dropout=0", "frontend.dropout=0")  # rounding alone differs
    [half] = history(distil(tmp_path / "m", "precision=bf16", *settings))
    [single] = history(distil(tmp_path / "single", *settings))
    assert half["loss"] != single["loss"] and half["loss"] == pytest.approx(single["loss"], rel=0.05)
    assert all(w.dtype != torch.bfloat16 for w in load_file(tmp_path / "m/model.safetensors").values())


@pytest.mark.parametrize("frontend", ["waveform_conv", "log_mel"])
def test_cached_targets_give_the_loss_of_the_teacher_in_the_loop(
    distil, tmp_path, wavlm_dir, corpus, frontend, history
):
    """Where the teacher hears whole utterances: crop by crop, and so epoch by epoch, the same losses."""
    extract_targets(wavlm_dir, corpus.train, tmp_path / "targets", layers="1,last", min_duration=0.5)
    kd = "kd_losses=[{name: hidden_mse}, {name: hidden_mse, teacher_layer: 1, student_layer: 0, weight: 2}]"
    settings = (kd, f"frontend={{name: {frontend}, channels: 6}}", "teacher_context=utterance")
    cached = history(distil(tmp_path / "cached", *settings, targets=str(tmp_path / "targets")))
    looped = history(distil(tmp_path / "looped", *settings))
    for one, other in zip(cached, looped, strict=True):
        for name in ("loss", "sv", "hidden_mse", "eer"):
            assert one[name] == pytest.approx(other[name], abs=1e-5)
    crop = history(distil(tmp_path / "crop", *settings[:2]))  # hears the crop alone, as in the paper
    assert abs(crop[0]["hidden_mse"] - cached[0]["hidden_mse"]) > 1e-4


def test_two_losses_of_one_kind_are_both_counted(distil, tmp_path, history):
    kd = "kd_losses=[{name: hidden_mse}, {name: hidden_mse, teacher_layer: 0, student_layer: 0, weight: 3}]"
    [record] = history(distil(tmp_path / "m", kd, "max_epochs=1"))
    names = [name for name in record if name.startswith("hidden_mse")]
    assert len(names) == 2
    total = record["sv"] + record[names[0]] + 3 * record[names[1]]
    assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_without_kd_no_teacher_is_needed(distil, tmp_path, monkeypatch, history):
    monkeypatch.setattr("svtk.train.distill.load_teacher", None)
    [record] = history(distil(tmp_path / "m", "kd_losses=[]", "max_epochs=1", teacher=None))
    assert record["loss"] == pytest.approx(record["sv"]) and "hidden_mse" not in record


def test_kd_alone(distil, tmp_path, history):
    [record] = history(distil(tmp_path / "m", "sv_weight=0", "max_epochs=1"))
    assert record["loss"] == pytest.approx(0.5 * record["hidden_mse"], rel=1e-5) and "sv" not in record


def test_the_best_epoch_is_what_is_saved(distil, tmp_path, monkeypatch):
    """Of equally good validations the first, as train.json says."""
    eers, seen = iter([0.4, 0.2, 0.3, 0.2]), []

    def eer(self, model):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(eers)

    monkeypatch.setattr("svtk.train.validation.Validation.eer", eer)
    distil(tmp_path / "m", "max_epochs=4")
    assert json.loads((tmp_path / "m/train.json").read_text())["best_epoch"] == 2
    saved = load_file(tmp_path / "m/model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in seen[1].items())
    assert not all(torch.equal(saved[key], value) for key, value in seen[3].items())


def test_validation_every_so_often(distil, tmp_path, history):
    records = history(distil(tmp_path / "m", "max_epochs=5", "valid_every=2"))
    assert [record["epoch"] for record in records if "eer" in record] == [2, 4, 5]


def test_weights_that_a_first_step_blew_up(distil, tmp_path):
    with pytest.raises(ModelError, match="validation embeddings are not finite. To mend: lower lr"):
        distil(tmp_path / "m", "lr=1e30", "max_grad_norm=1e30")
    assert not (tmp_path / "m/model.safetensors").exists()
