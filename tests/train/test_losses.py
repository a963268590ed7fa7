"""The losses' place in training: weights, learned parts, and what stops a loss that is not a number."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from svtk.config import load_yaml
from svtk.data.crops import Batch
from svtk.errors import ModelError
from svtk.train.brain import SpeakerBrain

#: the student is 8 wide, the teacher 12
EVERY_KD = [
    {"name": "hidden_mse", "weight": 0.5},
    {"name": "cosine", "weight": 2},
    {"name": "distilhubert", "weight": 0.3, "teacher_layers": [1, 2]},
    {"name": "fithubert", "weight": 0.7},
    {"name": "star", "weight": 0.1},
]

STATE = torch.linspace(-1, 1, 4 * 24 * 12).reshape(4, 24, 12)


class Stop(Exception):
    pass


def stop():
    raise Stop


def test_every_kd_loss_at_once(distil, tmp_path, history):
    """With a teacher of another width; each is counted under its name and by its weight."""
    kd = f"kd_losses={EVERY_KD}"
    records = history(distil(tmp_path / "m", kd, "max_epochs=6", "lr=5e-3", "student.dropout=0", noise=None))
    kd_sums = [sum(spec["weight"] * record[spec["name"]] for spec in EVERY_KD) for record in records]
    for record, kd_sum in zip(records, kd_sums, strict=True):
        assert record["loss"] == pytest.approx(record["sv"] + kd_sum, rel=1e-5)
    assert kd_sums[-1] < 0.9 * kd_sums[0] and records[-1]["sv"] < records[0]["sv"]
    assert {key.split(".")[0] for key in load_file(tmp_path / "m/model.safetensors")} == {"encoder", "backend"}


def test_learned_parts_are_resumed(distil, tmp_path, stop_at, monkeypatch):
    """Bit for bit, though they are no part of the model."""
    kd = f"kd_losses={EVERY_KD}"
    whole = distil(tmp_path / "whole", kd)
    stop_at(2, 2, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "broken", kd)
    [checkpoint] = (tmp_path / "broken/checkpoints").glob("CKPT+*")
    learned = torch.load(checkpoint / "kd_losses.ckpt", weights_only=True)
    assert {"0.projection.weight", "1.projection.weight", "2.heads.1.2.bias", "3.projections.0.weight"} <= set(learned)
    monkeypatch.undo()
    broken = distil(tmp_path / "broken", kd)
    for name in ("model.safetensors", "classifier.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_loss_of_weight_zero_is_watched_alone(distil, tmp_path, history):
    kd = "kd_losses=[{name: cosine, weight: 0}]"
    records = history(distil(tmp_path / "m", kd))
    for record in records:
        assert record["loss"] == pytest.approx(record["sv"]) and 0.5 < record["cosine"] < 1.5
    [bare] = history(distil(tmp_path / "bare", "kd_losses=[]", "max_epochs=1", teacher=None))
    assert bare["loss"] == pytest.approx(records[0]["loss"], rel=0.4)


@pytest.mark.parametrize(
    "spec", ["{name: subcenter_aam, num_subcenters: 2, top_k: 2}", "{name: sphereface2, margin_type: A, margin: 0.15}"]
)
def test_sv_losses(distil, tmp_path, history, spec):
    settings = ("lr=5e-3", "max_epochs=16", "valid_every=16", "margin_warmup_epochs=1")
    settings = (*settings, "student.dropout=0", "frontend.dropout=0")
    records = history(distil(tmp_path / "m", f"sv_loss={spec}", "kd_losses=[]", *settings, noise=None, teacher=None))
    sv = [record["sv"] for record in records[1:]]  # with all of the margin
    assert sum(sv[-4:]) < 0.8 * sum(sv[:4])
    assert {"weight"} <= set(load_file(tmp_path / "m/classifier.safetensors"))


def test_the_classes_are_not_kept_where_they_were_not_learned(distil, tmp_path):
    model = distil(tmp_path / "m", "sv_weight=0", "max_epochs=1")
    assert (model / "model.safetensors").exists() and not (model / "classifier.safetensors").exists()


# What a step costs, and what ends a run


def test_a_batch_is_moved_once(distil, tmp_path, monkeypatch):
    moved, to = [], Batch.to
    monkeypatch.setattr(Batch, "to", lambda self, device, **_: moved.append(device) or to(self, device))
    distil(tmp_path / "m", "max_epochs=2")
    assert len(moved) == 2 * 4


class Reads(TorchDispatchMode):
    """Counts how often a tensor's value is asked for, which on a GPU waits for all work before it."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("sv_loss", ["aam_softmax", "subcenter_aam", "sphereface2"])
def test_a_step_waits_for_no_value(distil, tmp_path, monkeypatch, sv_loss):
    """But the optimiser's, whose count of steps is on the CPU."""
    fit_batch, reads = SpeakerBrain.fit_batch, Reads()

    def counted(self, batch):
        with reads:
            return fit_batch(self, batch)

    monkeypatch.setattr(SpeakerBrain, "fit_batch", counted)
    monkeypatch.setattr(SpeakerBrain, "optimizers_step", lambda self: self.tally.end_step(torch.tensor(False)))
    monkeypatch.setattr(
        "svtk.train.brain.teacher_states", lambda teacher, batch, layers, frames: dict.fromkeys(layers, STATE)
    )
    distil(tmp_path / "m", f"kd_losses={EVERY_KD}", f"sv_loss={{name: {sv_loss}}}", "max_epochs=1")
    assert reads.count == 0


def spoil(monkeypatch, steps, how):
    """Do *how* with the losses of steps, each (epoch, step), both counted from 1."""
    objectives = SpeakerBrain.compute_objectives

    def compute_objectives(self, *args):
        loss = objectives(self, *args)
        return how(self, loss) if (self.state.epoch + 1, self.step) in steps else loss

    monkeypatch.setattr(SpeakerBrain, "compute_objectives", compute_objectives)


def nan(_brain, loss):
    return loss * float("nan")


def infinite_slope(brain, loss):
    """The loss is a number, its gradient is not."""
    return loss + (next(brain.model.parameters()).sum() * 0.0).sqrt()


@pytest.mark.parametrize("how", [nan, infinite_slope])
def test_a_step_without_a_finite_gradient_is_left_out(distil, tmp_path, monkeypatch, history, caplog, how):
    """Weights and optimiser stay as they were, and the means are of the other steps."""
    stepped, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: stepped.append(self) or step(self, *args))
    spoil(monkeypatch, {(1, 2), (2, 4)}, how)
    first, second = history(distil(tmp_path / "m"))
    assert first["skipped"] == second["skipped"] == 1 and len(stepped) == 2 * 4 - 2
    assert first["loss"] == pytest.approx(first["sv"] + 0.5 * first["hidden_mse"], rel=1e-5)
    assert "epoch 1: 1 step(s) without a finite gradient were left out" in caplog.text
    assert all(weight.isfinite().all() for weight in load_file(tmp_path / "m/model.safetensors").values())


def test_beyond_patience_the_run_ends_and_the_state_is_kept(distil, tmp_path, monkeypatch):
    monkeypatch.setattr("svtk.train.brain._CHECK_EVERY", 2)
    seen = []
    spoil(monkeypatch, {(2, 2), (2, 3), (2, 4)}, lambda brain, loss: seen.append(brain) or loss * float("nan"))
    message = (
        r"not finite in epoch 2; found 3 such step\(s\) one after another; expected at most 1 \(nonfinite_patience"
    )
    with pytest.raises(ModelError, match=message):
        distil(tmp_path / "m", "nonfinite_patience=1")
    end, within = sorted((tmp_path / "m/checkpoints").glob("CKPT+*"))
    places = [load_yaml(checkpoint / "CKPT.yaml") for checkpoint in (end, within)]
    assert [(place["epoch"], place["step"]) for place in places] == [(1, 0), (1, 4)]
    assert all(w.isfinite().all() for w in torch.load(within / "model.ckpt", weights_only=True).values())


def test_an_epoch_without_a_finite_step_ends_the_run(distil, tmp_path, monkeypatch):
    spoil(monkeypatch, {(1, step) for step in range(1, 5)}, nan)
    with pytest.raises(ModelError, match="not finite in epoch 1; found 4 such .* and not all of an epoch. To mend"):
        distil(tmp_path / "m")
    assert not (tmp_path / "m/model.safetensors").exists()


def test_weights_that_the_last_step_spoilt_are_not_kept(distil, tmp_path, monkeypatch):
    """The gradient was finite, the step too long."""
    step = SpeakerBrain.optimizers_step

    def too_far(self):
        step(self)
        if (self.state.epoch + 1, self.step) == (2, 4):
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("inf"))

    monkeypatch.setattr(SpeakerBrain, "optimizers_step", too_far)
    with pytest.raises(ModelError, match="the weights are not finite after epoch 2"):
        distil(tmp_path / "m", "valid_every=5", "max_epochs=3")
    [checkpoint] = (tmp_path / "m/checkpoints").glob("CKPT+*")
    assert "epoch: 1" in (checkpoint / "CKPT.yaml").read_text()


def test_audio_that_nothing_was_added_to_is_moved_as_one():
    wav = torch.zeros(2, 8)
    moved = Batch(wav, wav, torch.zeros(2), None, None, [0, 0]).to("meta")
    assert moved.wav is moved.clean and moved.wav.device.type == "meta"
    apart = Batch(wav, wav + 1, torch.zeros(2), None, None, [0, 0]).to("meta")
    assert apart.wav is not apart.clean
