"""Two phases of training, and means of weights: what they do, and that a resume gives the same bit by bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from svtk.errors import ConfigError
from svtk.models.speaker_model import load_model
from svtk.train.averaging import MovingAverage, load_mean
from svtk.train.brain import SpeakerBrain
from svtk.train.checkpointer import WholeCheckpointer
from svtk.train.options import SgdPhase, TrainOptions
from svtk.train.schedule import learning_rate, make_optimizer
from svtk.train.state import TrainState
from svtk.train.validation import Validation


class Stop(Exception):
    pass


def stop(*_, **__):
    raise Stop


def epochs(options, eers):
    """The phases' epochs of a training whose validations give *eers*: (AdamW's, SGD's)."""
    state, phases = TrainState(), ([], [])
    while not state.is_over(options):
        phases[state.sgd_from is not None].append(state.epoch + 1)
        state.next_epoch()
        state.validated(eers[state.epoch - 1], options)
        state.next_phase(options)
    return phases


def test_sgd_has_the_last_epochs():
    options = TrainOptions(max_epochs=9, sgd=SgdPhase(epochs=3))
    falling = [1 / n for n in range(1, 20)]
    assert epochs(options, falling) == ([1, 2, 3, 4, 5, 6], [7, 8, 9])
    assert epochs(TrainOptions(max_epochs=9), falling) == (list(range(1, 10)), [])


def test_sgd_comes_earlier_where_adamw_gets_no_further():
    options = TrainOptions(max_epochs=100, stop_patience=3, sgd=SgdPhase(epochs=20))
    assert epochs(options, [0.3, 0.2] + [0.25] * 100) == ([1, 2, 3, 4, 5], [6, 7, 8])
    assert epochs(options, [0.3] * 4 + [1 / n for n in range(4, 100)]) == ([1, 2, 3, 4], list(range(5, 25)))


def test_the_plateau_begins_anew_with_sgd():
    options = TrainOptions(max_epochs=10, lr_patience=1, sgd=SgdPhase(epochs=5, lr=0.1))
    state, rates = TrainState(), []
    for _ in range(10):
        rates.append(learning_rate(options, state, 4, state.epoch + 1, 1))
        state.next_epoch()
        state.validated(0.3, options)
        state.next_phase(options)
    lr = options.lr
    np.testing.assert_allclose(rates, [lr, lr, lr / 2, lr / 4, lr / 8, 0.1, 0.05, 0.025, 0.0125, 0.00625])


def test_the_cosine_begins_anew_with_sgd():
    options = TrainOptions(max_epochs=6, schedule="cosine", warmup_epochs=1, lr=0.2, sgd=SgdPhase(epochs=2, lr=0.1))
    state = TrainState(sgd_from=4)
    found = [learning_rate(options, TrainState(), 1, epoch, 1) for epoch in (1, 2, 3, 4)]
    np.testing.assert_allclose(found, [0.1 * (1 + np.cos(np.pi * i / 4)) for i in range(4)], atol=1e-12)
    assert [learning_rate(options, state, 1, epoch, 1) for epoch in (5, 6)] == pytest.approx([0.1, 0.05])


def test_the_optimisers():
    weight = [torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1), requires_grad=False)]
    options = TrainOptions(weight_decay=0.25, sgd=SgdPhase(epochs=1, lr=0.1, momentum=0.5))
    sgd = make_optimizer(weight, options, sgd=True, fused=False)
    for _ in range(2):
        weight[0].grad = torch.ones(1)
        sgd.step()
    first = 1 - 0.1 * (1 + 0.25)
    assert weight[0].item() == pytest.approx(first - 0.1 * (0.5 * 1.25 + 1 + 0.25 * first)) and weight[1] == 1
    assert isinstance(make_optimizer(weight, options, sgd=False, fused=False), torch.optim.AdamW)


@pytest.mark.parametrize("sgd", [False, True])
def test_a_fused_optimiser_stays_fused(sgd):
    """As on a GPU, when it goes on from a CPU's: only that leaves out, there, a gradient that is not finite."""
    before, after = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    old = make_optimizer([before], TrainOptions(), sgd=sgd, fused=False)
    new = make_optimizer([after], TrainOptions(), sgd=sgd, fused=True)
    before.grad, after.grad = torch.full((3,), 0.5), torch.full((3,), 0.5)
    old.step()
    assert not before.equal(torch.ones(3))
    new.load_state_dict(old.state_dict())
    new.found_inf = torch.ones(())
    new.step()
    assert new.param_groups[0]["fused"] and after.equal(torch.ones(3))


# In training

SGD = ("max_epochs=4", "sgd.epochs=2", "sgd.lr=0.05", "schedule=cosine")
EMA = ("max_epochs=3", "ema_decay=0.9")
MEAN = ("max_epochs=3", "average_last=2")


def weights(directory):
    return [(directory / name).read_bytes() for name in ("model.safetensors", "classifier.safetensors")]


def timeless(directory):
    summary = json.loads((directory / "train.json").read_text())
    records = [{key: value for key, value in record.items() if key != "seconds"} for record in summary["history"]]
    return {**summary, "history": records, "seconds": 0}


@pytest.mark.parametrize(
    ("settings", "places"),
    [(SGD, [(2, 2), (3, 1), (3, 3)]), (EMA, [(2, 2)]), (MEAN, [(3, 2)])],
    ids=["sgd", "ema", "mean"],
)
def test_a_resume_is_the_same_bit_by_bit(distil, tmp_path, monkeypatch, stop_at, settings, places):
    """From within each phase, from their border, and from after the last epoch."""
    distil(tmp_path / "whole", *settings)
    for epoch, step in places:
        stop_at(epoch, step, stop)
        with pytest.raises(Stop):
            distil(tmp_path / "m", *settings, checkpoint_steps=1, keep_checkpoints=1)
        monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(SpeakerBrain, "finish", stop)
        with pytest.raises(Stop):
            distil(tmp_path / "m", *settings, checkpoint_steps=1, keep_checkpoints=1)
    distil(tmp_path / "m", *settings)
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")
    assert timeless(tmp_path / "m") == timeless(tmp_path / "whole")


def test_sgd_learns_from_where_adamw_left(distil, tmp_path, monkeypatch):
    optimizers, eers = [], iter([0.1, 0.2, 0.3, 0.4])
    step = SpeakerBrain.optimizers_step
    monkeypatch.setattr(
        SpeakerBrain,
        "optimizers_step",
        lambda self: (optimizers.append((type(self.optimizer).__name__, self._rate()["lr"])), step(self)),
    )
    monkeypatch.setattr(Validation, "eer", lambda *_: next(eers))
    model = distil(tmp_path / "m", *SGD)
    assert [name for name, _ in optimizers] == ["AdamW"] * 8 + ["SGD"] * 8
    assert optimizers[8][1] == 0.05 and optimizers[0][1] == 1e-3
    assert json.loads((model / "train.json").read_text())["best_epoch"] == 1  # of AdamW: brought back over SGD's


def test_the_moving_average_is_what_is_validated_and_saved(distil, tmp_path, monkeypatch):
    """By a transcription of its formula over the weights after every step."""
    seen, validated = [], []
    start, step, eer = SpeakerBrain.on_fit_start, SpeakerBrain.optimizers_step, Validation.eer

    def snapshot(brain):
        state = {**brain.model.state_dict(), "classes": brain.objective.sv_loss.weight}
        return {k: v.detach().clone() for k, v in state.items() if v.is_floating_point()}

    def after(method):
        def run(self):
            method(self)
            seen.append(snapshot(self))

        return run

    def watched(self, model):
        validated.append({key: value.clone() for key, value in model.state_dict().items()})
        return eer(self, model)

    monkeypatch.setattr(SpeakerBrain, "on_fit_start", after(start))
    monkeypatch.setattr(SpeakerBrain, "optimizers_step", after(step))
    monkeypatch.setattr(Validation, "eer", watched)
    distil(tmp_path / "m", *EMA)
    assert len(seen) == 1 + 12
    mean, at_ends = {key: value.double() for key, value in seen[0].items()}, []
    for n, now in enumerate(seen[1:]):
        decay = min(0.9, (1 + n) / (10 + n))
        mean = {key: decay * mean[key] + (1 - decay) * now[key].double() for key in mean}
        if n % 4 == 3:
            at_ends.append(mean)
    for expected, found in zip(at_ends, validated, strict=True):
        for key, value in found.items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), expected[key], rtol=1e-4, atol=1e-6)
    best = json.loads((tmp_path / "m/train.json").read_text())["best_epoch"]
    for key, value in load_file(tmp_path / "m/model.safetensors").items():
        assert torch.equal(value, validated[best - 1][key])
    classes = load_file(tmp_path / "m/classifier.safetensors")["weight"]
    torch.testing.assert_close(classes.double(), at_ends[best - 1]["classes"], rtol=1e-4, atol=1e-6)


def test_the_last_epochs_are_averaged_and_validated(distil, tmp_path, monkeypatch, corpus):
    ends, prune = [], WholeCheckpointer.prune

    def watched(self, *args):
        module = self.recoverables["model"]
        ends.append({key: value.clone() for key, value in module.state_dict().items()})
        prune(self, *args)

    monkeypatch.setattr(WholeCheckpointer, "prune", watched)
    model = distil(tmp_path / "m", *MEAN, keep_checkpoints=1)
    assert len(ends) == 3
    for key, value in load_file(model / "model.safetensors").items():
        expected = (ends[1][key] + ends[2][key]) / 2 if value.is_floating_point() else ends[2][key]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    eer = Validation(corpus.valid, corpus.trials).eer(load_model(model))
    assert json.loads((model / "train.json").read_text())["valid_eer"] == eer


def test_the_last_epoch_alone(distil, tmp_path, monkeypatch):
    """average_last=1, for a training that no validation can steer."""
    eers, seen = iter([0.1, 0.3, 0.2]), []

    def eer(self, model):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(eers)

    monkeypatch.setattr(Validation, "eer", eer)
    distil(tmp_path / "m", "max_epochs=2", "average_last=1")
    saved = load_file(tmp_path / "m/model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in seen[1].items())
    assert json.loads((tmp_path / "m/train.json").read_text())["valid_eer"] == 0.2


def test_a_frozen_encoder_is_averaged_with_its_backend(run_of, student_dir, training, backend_spec, tmp_path):
    """Only what learns is kept in the average."""
    from svtk.train.backend import train_backend

    for name, options in (("ema", {"ema_decay": 0.5}), ("mean", {"average_last": 2})):
        train_backend({**training, "backend": backend_spec, **options}, run_of(tmp_path / name), student=student_dir)
        before, after = (load_file(f"{place}/model.safetensors") for place in (student_dir, tmp_path / name))
        assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("encoder."))


# The averages alone


def test_constant_weights_are_their_average(tmp_path):
    module = torch.nn.BatchNorm1d(3)
    torch.nn.init.normal_(module.weight)
    average, weight = MovingAverage({"m": module}, 0.99), module.weight.detach().clone()
    for n in range(50):
        average.update(n)
    with average.applied():
        assert torch.equal(module.weight, weight)
    for n in range(3):
        torch.save(module.state_dict(), tmp_path / f"{n}")
    load_mean(module, [tmp_path / f"{n}" for n in range(3)])
    assert torch.equal(module.weight, weight)


def test_weights_come_back_when_validation_fails():
    module = torch.nn.Linear(2, 2)
    average, weight = MovingAverage({"m": module}, 0.9), module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    with pytest.raises(Stop), average.applied():
        assert torch.equal(module.weight, weight)
        stop()
    assert torch.equal(module.weight, weight + 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("ema_decay=1",), "ema_decay must lie in"),
        (("ema_decay=0.9", "average_last=2"), "choose one"),
        (("average_last=-1",), "average_last must not be negative"),
        (("sgd.epochs=2",), "sgd.epochs must leave some of max_epochs to AdamW"),
        (("sgd.momentum=1",), "momentum must lie in"),
        (("sgd.rate=1",), "unknown key 'sgd.rate'"),
    ],
)
def test_wrong_settings(distil, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        distil(tmp_path / "m", *settings)
