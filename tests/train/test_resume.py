"""A run that ends early and comes back: bit by bit the same, and never mixed up with another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from svtk.config import save_yaml
from svtk.errors import ModelError
from svtk.train import run as run_module
from svtk.train.brain import SpeakerBrain


class Stop(Exception):
    pass


def stop(*_, **__):
    raise Stop


def assert_same_training(one, other):
    for name in ("model.safetensors", "classifier.safetensors", "config.yaml"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    records = [json.loads((directory / "train.json").read_text())["history"] for directory in (one, other)]
    timeless = [[{k: v for k, v in record.items() if k != "seconds"} for record in run] for run in records]
    assert timeless[0] == timeless[1]
    assert not (one / "checkpoints").exists()


@pytest.mark.parametrize(("epoch", "step"), [(1, 3), (2, 3)])
def test_stopped_by_an_error_and_resumed(whole, distil, tmp_path, monkeypatch, caplog, epoch, step, stop_at):
    stop_at(epoch, step, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m")
    monkeypatch.undo()
    assert not (tmp_path / "m/model.safetensors").exists()
    with caplog.at_level("INFO"):
        distil(tmp_path / "m")
    assert ("resuming after epoch 1" in caplog.text) == (epoch == 2)
    assert_same_training(tmp_path / "m", whole)


def test_resumed_where_the_rate_changes_with_every_step(distil, tmp_path, monkeypatch, stop_at):
    """In the warm-up, and on the way down after it."""
    settings = ("schedule=cosine", "warmup_epochs=2", "max_epochs=3", "margin_warmup_epochs=3")
    distil(tmp_path / "whole", *settings)
    stop_at(2, 2, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m", *settings)
    monkeypatch.undo()
    distil(tmp_path / "m", *settings)
    assert_same_training(tmp_path / "m", tmp_path / "whole")


def test_killed_and_resumed(whole, distil, tmp_path, killed, stop_at, kill):
    def work():
        stop_at(2, 3, kill)
        distil(tmp_path / "m")

    killed(work)
    assert (tmp_path / "m/run.yaml").exists() and not (tmp_path / "m/model.safetensors").exists()
    distil(tmp_path / "m")
    assert_same_training(tmp_path / "m", whole)


@pytest.mark.parametrize("where", ["validation", "checkpoint", "summary", "weights"])
def test_killed_at_an_awkward_moment(whole, distil, tmp_path, monkeypatch, killed, where, kill):
    """While it validates, saves a checkpoint, or writes what it ends with."""

    def work():
        torch.set_num_threads(1)
        target, name = {
            "validation": (SpeakerBrain, "on_stage_end"),
            "checkpoint": (torch, "save"),
            "summary": (run_module, "write_text"),
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
            monkeypatch.setattr(target, name, kill)
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


@pytest.mark.parametrize("by", ["YAML file", "MODEL_DIR"])
def test_other_weights_behind_a_teacher_that_is_only_referred_to_are_refused(distil, wavlm_dir, tmp_path, by):
    encoder, named = tmp_path / "encoder", tmp_path / "teacher.yaml"
    shutil.copytree(wavlm_dir, encoder)
    if by == "YAML file":  # what it inherits is part of it
        named.write_text("base: base.yaml\n")
        (tmp_path / "base.yaml").write_text("name: wavlm\nsource: encoder\n")
    else:
        named = tmp_path / "teacher"
        named.mkdir()
        teacher = {"name": "wavlm", "source": str(encoder)}
        model = {"kind": "teacher", "window": 0.5, "backend": {"name": "linear"}, "teacher": teacher}
        save_yaml(model, named / "config.yaml")
    distil(tmp_path / "m", "max_epochs=1", teacher=str(named))
    distil(tmp_path / "m", "max_epochs=1", teacher=str(named))
    weights = load_file(encoder / "model.safetensors")
    save_file({key: value * 0.5 for key, value in weights.items()}, encoder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"found a difference in inputs\.teacher\. To mend"):
        distil(tmp_path / "m", "max_epochs=1", teacher=str(named))


def test_an_interrupted_run_is_not_taken_up_with_other_settings(distil, tmp_path, monkeypatch, stop_at):
    stop_at(2, 1, stop)
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
def test_a_damaged_checkpoint(distil, tmp_path, monkeypatch, name, stop_at):
    stop_at(2, 1, stop)
    with pytest.raises(Stop):
        distil(tmp_path / "m")
    [checkpoint] = (tmp_path / "m/checkpoints").glob("CKPT+*")
    (checkpoint / name).write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"/CKPT\+.*: the checkpoint does not fit: .*To mend: remove the directory"):
        distil(tmp_path / "m")
