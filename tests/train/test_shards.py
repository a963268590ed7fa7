"""Training from shards, and at perturbed speed."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open

from svtk.config import from_mapping
from svtk.errors import ConfigError
from svtk.prepare.shards import make_shards
from svtk.train.options import FrozenEncoderOptions

SPEEDS = ("augment.speed.factors=[0.9,1.1]", "augment.speed.new_speakers=true")


@pytest.fixture(scope="module")
def shard_dir(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    make_shards(corpus.train, out, per_shard=5)
    return str(out)


class Stop(Exception):
    pass


def test_stopped_within_an_epoch_and_resumed(distil, shard_dir, tmp_path, monkeypatch, stop_at):
    """With processes that load data and read ahead, and without; at the exact step; twice; at other speeds, too."""
    settings = ("shuffle_buffer=3", *SPEEDS)
    distil(tmp_path / "whole", *settings, "num_workers=1", train_dir=shard_dir)

    def stop():
        raise Stop

    for epoch, step, workers in ((1, 3, 0), (2, 2, 1)):
        stop_at(epoch, step, stop)
        with pytest.raises(Stop):
            distil(tmp_path / "m", *settings, f"num_workers={workers}", train_dir=shard_dir, checkpoint_steps=1)
        monkeypatch.undo()
    distil(tmp_path / "m", *settings, "num_workers=1", train_dir=shard_dir)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "m")]
    assert weights[0] == weights[1]


def test_two_processes_learn_what_one_does(distil, shard_dir, together, tmp_path, history):
    settings = (
        *("backend={name: linear, embedding_dim: 6}", "student.dropout=0", "frontend.dropout=0", "batch_size=8"),
        *("kd_losses=[{name: hidden_mse}, {name: distilhubert, teacher_layers: [1, 2]}]", "shuffle_buffer=4", *SPEEDS),
    )
    distil(tmp_path / "one", *settings, train_dir=shard_dir)
    assert together(lambda: distil(tmp_path / "two", *settings, "num_workers=1", train_dir=shard_dir)) == [0, 0]
    losses = [[record["loss"] for record in history(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_another_speed_is_another_speaker(distil, tmp_path):
    distil(tmp_path / "m", *SPEEDS, "num_workers=1")
    with safe_open(tmp_path / "m/classifier.safetensors", framework="pt") as file:
        speakers = json.loads(file.metadata()["speakers"])
    assert len(speakers) == 12 and speakers[4:9] == ["s0-sp0.9", "s1-sp0.9", "s2-sp0.9", "s3-sp0.9", "s0-sp1.1"]


def test_hidden_states_of_the_own_speed_are_refused(run_of, training, tmp_path):
    settings = {**training, "cache_hidden": 1, "augment": {"speed": {"factors": [0.9]}}}
    with pytest.raises(ConfigError, match=r"own speed; found augment\.speed\.factors \[0\.9\], cache_hidden 1"):
        run_of(tmp_path / "m").frozen_encoder_crops(None, from_mapping(FrozenEncoderOptions, settings))
