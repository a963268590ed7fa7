"""Distillation end to end on a corpus of seconds: learn, resume bit by bit, refuse mix-ups."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from svtk.data.cuts import load_cuts
from svtk.errors import AudioError, ConfigError, DataError, ModelError
from svtk.extract.targets import extract_targets
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.models.speaker_model import load_model
from svtk.train import run as run_module
from svtk.train.brain import SpeakerBrain
from svtk.train.options import TrainOptions


def history(model_dir):
    return json.loads((model_dir / "train.json").read_text())["history"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Where the run that all others are compared with lies; made by the first test that needs it."""
    return tmp_path_factory.mktemp("finished") / "model"


@pytest.fixture
def whole(finished, distil):
    return finished if (finished / "model.safetensors").exists() else distil(finished)


def stop_at(monkeypatch, epoch, step, how):
    """Do *how* in a step of an epoch (both counted from 1)."""
    forward = SpeakerBrain.compute_forward

    def compute_forward(self, batch, stage):
        if (self.state.epoch + 1, self.step) == (epoch, step):
            how()
        return forward(self, batch, stage)

    monkeypatch.setattr(SpeakerBrain, "compute_forward", compute_forward)


def kill():
    torch.set_num_threads(1)
    os.kill(os.getpid(), signal.SIGKILL)


class Stop(Exception):
    pass


def stop(*_, **__):
    raise Stop


def test_a_model_dir(whole, corpus):
    assert {f.name for f in whole.iterdir()} == {
        *("config.yaml", "model.safetensors", "run.yaml", "train.json", "tensorboard")
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


def test_tensorboard(whole):
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


@pytest.mark.parametrize(("epoch", "step"), [(1, 3), (2, 1), (2, 3)])
def test_stopped_by_an_error_and_resumed(whole, distil, tmp_path, monkeypatch, caplog, epoch, step):
    stop_at(monkeypatch, epoch, step, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m")
    monkeypatch.undo()
    assert not (tmp_path / "m/model.safetensors").exists()
    with caplog.at_level("INFO"):
        distil(tmp_path / "m")
    assert ("resuming after epoch 1" in caplog.text) == (epoch == 2)
    assert_same_training(tmp_path / "m", whole)


def assert_same_training(one, other):
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()
    timeless = [[{k: v for k, v in r.items() if k != "seconds"} for r in history(x)] for x in (one, other)]
    assert timeless[0] == timeless[1]
    assert not (one / "checkpoints").exists()


@pytest.mark.parametrize(("epoch", "step"), [(1, 2), (2, 3)])
def test_killed_and_resumed(whole, distil, tmp_path, monkeypatch, killed, epoch, step):
    def work():
        stop_at(monkeypatch, epoch, step, kill)
        distil(tmp_path / "m")

    killed(work)
    assert (tmp_path / "m/run.yaml").exists() and not (tmp_path / "m/model.safetensors").exists()
    distil(tmp_path / "m")
    assert_same_training(tmp_path / "m", whole)


@pytest.mark.parametrize("where", ["validation", "checkpoint", "summary", "weights"])
def test_killed_at_an_awkward_moment(whole, distil, tmp_path, monkeypatch, killed, where):
    """While it validates, saves a checkpoint, or writes what it ends with."""

    def work():
        torch.set_num_threads(1)
        target, name = {
            "validation": (SpeakerBrain, "on_stage_end"),
            "checkpoint": (torch, "save"),
            "summary": (run_module, "write_lines"),
            "weights": ("svtk.models.speaker_model.os", "replace"),
        }[where]
        if where == "checkpoint":
            count, save = [], torch.save

            def dying(*args, **kwargs):
                count.append(args)
                if len(count) == 5:  # in the second checkpoint
                    kill()
                return save(*args, **kwargs)

            monkeypatch.setattr(target, name, dying)
        elif where == "weights":
            monkeypatch.setattr(f"{target}.{name}", lambda *_: kill() if "model.safetensors" in str(_[1]) else None)
        else:
            monkeypatch.setattr(target, name, lambda *_, **__: kill())
        distil(tmp_path / "m")

    killed(work)
    assert not (tmp_path / "m/model.safetensors").exists()
    distil(tmp_path / "m")
    assert_same_training(tmp_path / "m", whole)


def test_a_rerun_of_a_finished_run_does_nothing(whole, distil, monkeypatch, caplog):
    before = {f: f.stat().st_mtime_ns for f in whole.rglob("*") if f.is_file()}
    monkeypatch.setattr(SpeakerBrain, "__init__", stop)
    with caplog.at_level("INFO"):
        distil(whole)
    assert "already trained with these settings; nothing to do" in caplog.text
    assert {f: f.stat().st_mtime_ns for f in whole.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize(
    ("overrides", "changes", "what"),
    [
        (["student.num_layers=1"], {}, "config.student.num_layers"),
        (["lr=2e-3"], {}, "config.lr"),
        ([], {"seed": 2}, "seed"),
        ([], {"noise": None}, "inputs.noise"),
        ([], {"teacher": "another"}, "inputs.teacher"),
        ([], {"valid_trials": "other"}, "inputs.valid_trials"),
        ([], {"train_dir": "other"}, "inputs.train"),
    ],
)
def test_other_settings_in_the_same_place_are_refused(whole, distil, overrides, changes, what):
    with pytest.raises(ModelError, match=rf"holds a run with other settings; found a difference in {what}\. To mend"):
        distil(whole, *overrides, **changes)


def test_what_changes_only_the_speed_may_differ(whole, distil, caplog):
    with caplog.at_level("INFO"):
        distil(whole, "num_workers=2", "cache_audio=true")
    assert "already trained with these settings" in caplog.text


def test_other_trials_of_the_same_name_are_refused(whole, distil, corpus, tmp_path):
    """A run is known by what its inputs hold, not only by where they lie."""
    trials = tmp_path / "valid"
    lines = Path(corpus.trials).read_text().splitlines()
    trials.write_text("\n".join(lines) + "\n")
    distil(tmp_path / "m", "max_epochs=1", valid_trials=str(trials))
    trials.write_text("\n".join(lines[::-1]) + "\n")
    with pytest.raises(ModelError, match=r"found a difference in inputs\.valid_trials\. To mend"):
        distil(tmp_path / "m", "max_epochs=1", valid_trials=str(trials))


def test_an_interrupted_run_is_not_taken_up_with_other_settings(distil, tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, 1, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m")
    with pytest.raises(ModelError, match=r"other settings; found a difference in config\.batch_size"):
        distil(tmp_path / "m", "batch_size=8")


def test_a_run_that_never_began_may_be_mended(distil, tmp_path):
    """A mistyped --teacher must not cost the directory."""
    with pytest.raises(ModelError, match="no such directory, and not to be had from the hub"):
        distil(tmp_path / "m", teacher="no/such/teacher")
    assert (distil(tmp_path / "m", "max_epochs=1") / "model.safetensors").exists()


def test_a_model_of_unknown_origin_is_not_overwritten(distil, tmp_path, student_dir):
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(ModelError, match="holds a model of unknown origin"):
        distil(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["model.ckpt", "optimizer.ckpt", "state.ckpt"])
def test_a_damaged_checkpoint(distil, tmp_path, monkeypatch, name):
    stop_at(monkeypatch, 2, 1, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m")
    [checkpoint] = (tmp_path / "m/checkpoints").glob("CKPT+*")
    (checkpoint / name).write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"checkpoints: the checkpoint does not fit: .*To mend: remove the directory"):
        distil(tmp_path / "m")


# What is learned


def test_student_and_backend_learn_and_the_teacher_does_not(distil, tmp_path, wavlm_dir):
    weights = load_file(f"{wavlm_dir}/model.safetensors")
    first = load_file(distil(tmp_path / "a", "max_epochs=1", "lr=1e-12") / "model.safetensors")
    after = load_file(distil(tmp_path / "b", "max_epochs=1") / "model.safetensors")
    still = {key for key, value in after.items() if value.is_floating_point() and torch.equal(first[key], value)}
    assert not still
    now = load_file(f"{wavlm_dir}/model.safetensors")
    assert all(torch.equal(weights[key], now[key]) for key in weights)


def test_the_loss_falls(distil, tmp_path):
    records = history(distil(tmp_path / "m", "max_epochs=12", "lr=5e-3", "student.dropout=0", noise=None))
    assert records[-1]["sv"] < 0.7 * records[0]["sv"] and records[-1]["hidden_mse"] < 0.97 * records[0]["hidden_mse"]


def test_half_precision(whole, distil, tmp_path):
    """bfloat16 in the forward pass; losses, weights and what is saved stay float32."""
    [first, _], [single, _] = history(distil(tmp_path / "m", "precision=bf16")), history(whole)
    assert first["loss"] != single["loss"] and first["loss"] == pytest.approx(single["loss"], rel=0.05)
    assert all(w.dtype != torch.bfloat16 for w in load_file(tmp_path / "m/model.safetensors").values())


@pytest.mark.parametrize("frontend", ["waveform_conv", "log_mel"])
def test_cached_targets_give_the_loss_of_the_teacher_in_the_loop(distil, tmp_path, wavlm_dir, corpus, frontend):
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


def test_two_losses_of_one_kind_are_both_counted(distil, tmp_path):
    kd = "kd_losses=[{name: hidden_mse}, {name: hidden_mse, teacher_layer: 0, student_layer: 0, weight: 3}]"
    [record] = history(distil(tmp_path / "m", kd, "max_epochs=1"))
    names = [name for name in record if name.startswith("hidden_mse")]
    assert len(names) == 2
    total = record["sv"] + record[names[0]] + 3 * record[names[1]]
    assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_without_kd_no_teacher_is_needed(distil, tmp_path, monkeypatch):
    monkeypatch.setattr("svtk.train.distill.load_teacher", stop)
    [record] = history(distil(tmp_path / "m", "kd_losses=[]", "max_epochs=1", teacher=None))
    assert record["loss"] == pytest.approx(record["sv"]) and "hidden_mse" not in record


def test_kd_alone(distil, tmp_path):
    [record] = history(distil(tmp_path / "m", "sv_weight=0", "max_epochs=1"))
    assert record["loss"] == pytest.approx(0.5 * record["hidden_mse"], rel=1e-5) and "sv" not in record


def test_the_best_epoch_is_what_is_saved(distil, tmp_path, monkeypatch):
    """Of equally good validations the first, as train.json says."""
    eers, seen = iter([0.4, 0.2, 0.3, 0.2]), []

    def eer(self, model):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(eers)

    monkeypatch.setattr("svtk.train.brain.Validation.eer", eer)
    distil(tmp_path / "m", "max_epochs=4")
    assert json.loads((tmp_path / "m/train.json").read_text())["best_epoch"] == 2
    saved = load_file(tmp_path / "m/model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in seen[1].items())
    assert not all(torch.equal(saved[key], value) for key, value in seen[3].items())


def test_validation_every_so_often(distil, tmp_path):
    records = history(distil(tmp_path / "m", "max_epochs=5", "valid_every=2"))
    assert [record["epoch"] for record in records if "eer" in record] == [2, 4, 5]


def test_a_loss_that_is_not_a_number(distil, tmp_path):
    with pytest.raises(ModelError, match=r"the loss is (nan|inf) in epoch [12]\. To mend: lower lr"):
        distil(tmp_path / "m", "lr=1e30", "max_grad_norm=1e30")
    assert not (tmp_path / "m/model.safetensors").exists()


# What cannot be trained


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["studnet.num_layers=3"], "unknown key 'studnet'. To mend: did you mean 'student'?"),
        (["student.layers=3"], "unknown key 'student.layers'. To mend: did you mean 'num_layers'?"),
        (["student.name=sv_mixr"], "no component 'sv_mixr' in students. To mend: did you mean 'sv_mixer'?"),
        (["kd_losses.0.name=hidden_mae"], "no component 'hidden_mae' in losses. To mend: did you mean 'hidden_mse'?"),
        (["kd_losses.0.weight=much"], "wrong value for 'kd_losses.0.weight'; found 'much'; expected a number"),
        (["kd_losses.0.teacher_layer=9"], "no such layer in 'teacher_layer'; found 9; expected -3 ... 2"),
        (["kd_losses.0.student_layer=3"], "no such layer in 'student_layer'; found 3; expected -3 ... 2"),
        (["sv_loss={name: hidden_mse}"], "'hidden_mse' of losses does not serve here"),
        (["kd_losses=[{name: aam_softmax}]"], "'aam_softmax' of losses does not serve here"),
        (["kd_losses=[]", "sv_weight=0"], "nothing to learn"),
        (["crop_duration=0.03"], "the window is too short"),
        (["crop_grid=300"], "crop_grid must be a multiple of 320 samples, one frame"),
        (["augment.probability=1"], "unknown key 'augment.probability'. To mend: did you mean 'prob'?"),
        (["batch_size=0"], "batch_size must be positive"),
        (["lr_factor=0"], "lr_factor must lie in (0, 1]"),
        (["warmup_epochs=-1"], "warmup_epochs must not be negative"),
        (["stop_patience=0"], "stop_patience must be at least 1"),
    ],
)
def test_wrong_configurations(distil, tmp_path, overrides, message):
    with pytest.raises(ConfigError) as raised:
        distil(tmp_path / "m", *overrides)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "m/model.safetensors").exists()


@pytest.mark.parametrize("sides", [{"teacher": None}, {"teacher": "x", "targets": "y"}])
def test_one_source_of_teacher_states(distil, tmp_path, sides):
    with pytest.raises(
        ConfigError, match="distillation needs one of --teacher and --targets. To mend: give one, or set"
    ):
        distil(tmp_path / "m", **sides)


def test_targets_that_do_not_fit(distil, tmp_path, wavlm_dir, corpus):
    extract_targets(wavlm_dir, corpus.train, tmp_path / "t", layers="1", min_duration=0.6)
    with pytest.raises(ConfigError, match=r"other crops; found min_duration 0\.6; expected crop_duration 0\.5.*0\.5"):
        distil(tmp_path / "m", "kd_losses.0.teacher_layer=1", targets=str(tmp_path / "t"))
    extract_targets(wavlm_dir, corpus.train, tmp_path / "u", layers="1", min_duration=0.5)
    with pytest.raises(DataError, match=r"no teacher targets of layer 2; found layers \[1\]"):
        distil(tmp_path / "m", targets=str(tmp_path / "u"))
    extract_targets(wavlm_dir, corpus.valid, tmp_path / "v", min_duration=0.5)
    with pytest.raises(DataError, match=r"16 utterance\(s\) have no teacher target, first 's0-0'"):
        distil(tmp_path / "m", targets=str(tmp_path / "v"))
    with pytest.raises(DataError, match="no readable targets.json"):
        distil(tmp_path / "m", targets=str(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_file_in_the_middle(distil, tmp_path, corpus, num_workers):
    bad = tmp_path / "bad.wav"
    utterances = read_data_dir(corpus.train).utterances
    shutil.copy(utterances[5].wav, bad)
    utterances[5] = dataclasses.replace(utterances[5], wav=str(bad))
    data = str(write_data_dir(tmp_path / "data", utterances).path)
    load_cuts(data)
    bad.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=rf"^{bad}: cannot read audio of [^;]+; found [^\n]+$") as raised:
        distil(tmp_path / "m", f"num_workers={num_workers}", train_dir=data)
    assert "Traceback" not in str(raised.value)


def test_the_papers_protocol_is_the_default():
    options = TrainOptions()
    assert (options.crop_duration, options.crop_grid, options.batch_size) == (3.0, 320, 128)
    assert (options.lr, options.weight_decay, options.schedule) == (2e-4, 2e-5, "plateau")
    assert (options.lr_factor, options.lr_patience, options.stop_patience) == (0.5, 5, 10)
