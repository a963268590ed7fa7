"""Several processes under gloo, and parts of a batch one after another: the same training as by one at once.

BatchNorm is synchronous on GPUs only, so equality is shown with a backend that has none.
"""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest
import torch

from svtk.data.crops import CropDataset, EpochSampler
from svtk.data.cuts import load_utterances
from svtk.errors import ConfigError
from svtk.models.speaker_model import load_model
from svtk.train import parallel
from svtk.train.checkpointer import WholeCheckpointer
from svtk.train.steps import StepSampler

#: no BatchNorm, and nothing drawn while it learns
PLAIN = (
    "backend={name: linear, embedding_dim: 6}",
    "student.dropout=0",
    "frontend.dropout=0",
    "batch_size=8",
    "max_epochs=3",
    "kd_losses=[{name: hidden_mse, weight: 0.5}, {name: distilhubert, teacher_layers: [1, 2]}]",
)


def assert_close_training(one, other):
    """Losses of every epoch, and what the models make of a recording; up to the order of sums.

    Single weights may differ: Adam makes steps of full length of gradients that are zero but for rounding.
    """
    records = [json.loads((directory / "train.json").read_text())["history"] for directory in (one, other)]
    for mine, theirs in zip(*records, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - {"seconds"}:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
    wav = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(*(load_model(place).embed_cover([wav]) for place in (one, other)), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="session")
def plain_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("plain") / "model"


@pytest.fixture
def plain(plain_dir, distil):
    """What one process learns at once."""
    return plain_dir if (plain_dir / "model.safetensors").exists() else distil(plain_dir, *PLAIN)


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 2), (1, 3), (2, 1), (2, 2), (3, 1)])
def test_the_same_in_parts(plain, distil, together, tmp_path, world_size, accumulation):
    """Of unequal size, too: 8 crops in 3 parts."""
    settings = (*PLAIN, f"grad_accumulation={accumulation}")
    if world_size == 1:
        distil(tmp_path / "m", *settings)
    else:
        assert together(lambda: distil(tmp_path / "m", *settings), world_size) == [0] * world_size
    assert_close_training(tmp_path / "m", plain)
    assert {f.name for f in (tmp_path / "m").iterdir()} == {f.name for f in plain.iterdir()}
    if world_size > 1:  # again: all know that it is done
        assert together(lambda: distil(tmp_path / "m", *settings), world_size) == [0] * world_size


def test_weights_that_learn_nothing(distil, together, tmp_path, history):
    """The backend's, without an SV loss."""
    assert together(lambda: distil(tmp_path / "m", *PLAIN, "sv_weight=0")) == [0, 0]
    alone = distil(tmp_path / "alone", *PLAIN, "sv_weight=0")
    losses = [[record["loss"] for record in history(place)] for place in (tmp_path / "m", alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("before", "after"), [((2, 1), (1, 2)), ((1, 1), (2, 1))])
def test_resumed_by_another_number_of_processes(plain, distil, together, tmp_path, stop_at, before, after, kill):
    """Within an epoch: the checkpoint says nothing of who computed what."""

    def work(accumulation):
        distil(tmp_path / "m", *PLAIN, f"grad_accumulation={accumulation}", checkpoint_steps=1)

    stop_at(2, 2, kill)
    assert signal.SIGKILL in together(lambda: work(before[1]), before[0])
    assert WholeCheckpointer(tmp_path / "m/checkpoints").newest().meta["epoch"] == 1
    stop_at(9, 9, kill)
    assert together(lambda: work(after[1]), after[0]) == [0] * after[0]
    assert_close_training(tmp_path / "m", plain)


@pytest.mark.parametrize("settings", [(), ("ema_decay=0.9",)])
def test_killed_and_resumed_by_as_many_it_is_the_same_bit_for_bit(distil, together, tmp_path, stop_at, kill, settings):
    """With BatchNorm, whose running statistics and their moving average are the first process's, dropout and noise."""
    assert together(lambda: distil(tmp_path / "whole", *settings, checkpoint_steps=2)) == [0, 0]
    stop_at(2, 4, kill)
    assert signal.SIGKILL in together(lambda: distil(tmp_path / "m", *settings, checkpoint_steps=2))
    stop_at(9, 9, kill)
    assert together(lambda: distil(tmp_path / "m", *settings, checkpoint_steps=2)) == [0, 0]
    weights, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("m", "whole"))
    assert weights == whole


@pytest.mark.parametrize("settings", [("ema_decay=0.8", "sgd.epochs=1"), ("average_last=2",)])
def test_averages_and_a_second_phase(distil, together, tmp_path, settings):
    distil(tmp_path / "one", *PLAIN, *settings)
    assert together(lambda: distil(tmp_path / "two", *PLAIN, *settings)) == [0, 0]
    assert_close_training(tmp_path / "two", tmp_path / "one")
    eers = [json.loads((tmp_path / name / "train.json").read_text())["valid_eer"] for name in ("one", "two")]
    assert eers[0] == pytest.approx(eers[1], abs=1e-6)


def test_dropout_differs_between_the_parts(plain, distil, together, tmp_path):
    """Two processes draw what one draws for two parts."""
    settings = [x for x in PLAIN if "dropout" not in x]
    distil(tmp_path / "one", *settings, "grad_accumulation=2")
    assert together(lambda: distil(tmp_path / "two", *settings)) == [0, 0]
    assert_close_training(tmp_path / "two", tmp_path / "one")


def test_an_error_in_all_is_an_error(distil, together, tmp_path, capfd):
    assert any(together(lambda: distil(tmp_path / "m", "batch_size=2")))
    assert "a step has too few crops for its parts; found 2 crops, 1 part(s) in each of 2 process(es)" in (
        capfd.readouterr().err
    )


# Who computes what


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (2, 1), (3, 2)])
def test_the_parts_make_up_the_epoch(corpus, world_size, accumulation):
    crops = CropDataset(load_utterances(corpus.train), 8000, seed=3)
    whole = EpochSampler(crops, 15)
    ranks = [list(StepSampler(whole, accumulation, world_size, rank)) for rank in range(world_size)]
    assert all(len(rank) == len(whole) * accumulation for rank in ranks)
    for step, batch in enumerate(whole):
        mine = [rank[step * accumulation : (step + 1) * accumulation] for rank in ranks]
        parts = [mine[rank][part] for part in range(accumulation) for rank in range(world_size)]
        assert [index for part in parts for index in part] == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert max(Counter(i for rank in ranks for part in rank for i in part).values()) == 1


def test_an_epoch_taken_up_in_its_midst(corpus):
    crops = CropDataset(load_utterances(corpus.train), 8000, seed=3)
    sampler = StepSampler(EpochSampler(crops, 4), 2)
    whole = list(sampler)
    sampler.first_step = 3
    assert list(sampler) == whole[6:] and len(sampler) == 2
    sampler.first_step = 4
    assert list(sampler) == [] and len(sampler) == 0


def test_parts_of_one_crop_are_refused(corpus):
    crops = CropDataset(load_utterances(corpus.train), 8000)
    with pytest.raises(ConfigError, match="found 16 crops, 3 part.*expected at least 18 crops. To mend: raise batch"):
        StepSampler(EpochSampler(crops, 100), 3, 3, 0)


def test_alone_nothing_is_shared():
    assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (0, 1, True)
    values = {"a": torch.tensor(1.0)}
    assert parallel.mean(values) is values and parallel.all_of(3) == [3] and parallel.on_main(lambda: 4) == 4
    assert parallel.join("cuda:1") == "cuda:1"


def test_a_device_of_its_own(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="each process its own GPU; found --device cuda:1; expected cuda"):
        parallel.join("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"more processes than GPUs; found process 1 on this machine, 0 GPU\(s\)"):
        parallel.join("cuda")
