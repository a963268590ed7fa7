"""Training crops: on the grid, repeated where short, and a function of (seed, epoch, utterance) alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from svtk.data.augment import Augmenter, Config
from svtk.data.crops import CropDataset, EpochSampler, HiddenCrops
from svtk.data.cuts import load_utterances
from svtk.data.utterances import Utterances
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import Utterance, write_data_dir

SIZE = 8000
LENGTHS = [round(16_000 * x) for x in (0.3, 0.5, 0.9, 1.337)] * 4


def crops(corpus, **options) -> CropDataset:
    return CropDataset(load_utterances(corpus.train), SIZE, **options)


def audio(dataset, index):
    return soundfile.read(dataset.items[index].wav, dtype="float32")[0]


def loaded(dataset, epoch, num_workers=0, batch_size=5):
    dataset.epoch = epoch
    sampler = EpochSampler(dataset, batch_size)
    return list(DataLoader(dataset, batch_sampler=sampler, collate_fn=dataset.collate, num_workers=num_workers))


def same(left, right):
    return all(
        torch.equal(a.wav, b.wav) and torch.equal(a.clean, b.clean) and torch.equal(a.label, b.label)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("grid", [320, 1600])
@pytest.mark.parametrize("cache", [False, True])
def test_crops_start_on_the_grid(corpus, grid, cache):
    dataset = crops(corpus, grid=grid, cache=cache)
    starts = {index: set() for index in range(len(dataset))}
    for epoch in range(40):
        dataset.epoch = epoch
        for index in (2, 3):
            example = dataset[index]
            start = example["start_frame"] * 320
            starts[index].add(start)
            assert start % grid == 0
            assert np.array_equal(example["clean"], audio(dataset, index)[start : start + SIZE])
    for index in (2, 3):  # every place on the grid, up to the last that fits
        places = set(range(0, LENGTHS[index] - SIZE + 1, grid))
        assert starts[index] <= places and len(starts[index]) > 0.4 * len(places)
        assert grid == 320 or starts[index] == places


def test_a_crop_as_long_as_its_utterance(corpus):
    dataset = crops(corpus)
    for epoch in range(5):
        dataset.epoch = epoch
        assert dataset[1]["start_frame"] == 0 and np.array_equal(dataset[1]["clean"], audio(dataset, 1))


def test_a_short_utterance_is_repeated(corpus):
    dataset = crops(corpus)
    samples = audio(dataset, 0)
    assert len(samples) == 4800
    assert np.array_equal(dataset[0]["clean"], np.concatenate([samples, samples])[:SIZE])
    assert dataset[0]["start_frame"] == 0


def test_labels_are_the_places_of_sorted_speakers(corpus):
    dataset = crops(corpus)
    assert dataset.speakers == ["s0", "s1", "s2", "s3"]
    assert [dataset[i]["label"] for i in range(16)] == [i // 4 for i in range(16)]


def test_segments_are_cropped_within_themselves(tmp_path):
    """Never from what lies beside them in the recording."""
    samples = np.concatenate([np.full(16_000, 0.25), np.full(16_000, -0.5)])
    soundfile.write(tmp_path / "r.wav", samples, 16_000)
    spans = [Utterance(f"u{i}", f"s{i}", str(tmp_path / "r.wav"), "r", i * 1.0, i + 1.0) for i in (0, 1)]
    write_data_dir(tmp_path / "data", spans)
    for cache in (False, True):
        dataset = CropDataset(load_utterances(tmp_path / "data"), SIZE, cache=cache)
        for epoch in range(20):
            dataset.epoch = epoch
            assert (dataset[0]["clean"] == 0.25).all() and (dataset[1]["clean"] == -0.5).all()


@pytest.mark.parametrize("noisy", [False, True])
def test_deterministic_and_independent_of_workers(corpus, noisy):
    augmenter = Augmenter(corpus.noise, Config(prob=0.7)) if noisy else None
    first, again, other = (crops(corpus, seed=seed, augmenter=augmenter) for seed in (3, 3, 4))
    batches = loaded(first, 1)
    assert same(batches, loaded(again, 1)) and same(batches, loaded(again, 1, num_workers=2))
    assert not same(batches, loaded(first, 2)) and not same(batches, loaded(other, 1))
    assert same(batches, loaded(crops(corpus, seed=3, augmenter=augmenter, cache=True), 1))


def test_an_example_does_not_depend_on_which_came_before(corpus):
    dataset = crops(corpus, augmenter=Augmenter(corpus.noise, Config(prob=1.0)))
    forwards, backwards = [dataset[i]["wav"] for i in range(6)], [dataset[i]["wav"] for i in range(5, -1, -1)]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards[::-1], strict=True))


def test_only_the_students_side_is_noisy(corpus):
    clean, noisy = crops(corpus), crops(corpus, augmenter=Augmenter(corpus.noise, Config(prob=1.0)))
    for index in range(6):
        assert np.array_equal(clean[index]["clean"], noisy[index]["clean"])
        assert not np.array_equal(noisy[index]["wav"], noisy[index]["clean"])
        example = clean[index]
        assert example["wav"] is example["clean"]


def test_batches(corpus):
    dataset = crops(corpus, augmenter=Augmenter(corpus.noise, Config(prob=1.0)))
    batch = loaded(dataset, 0)[0]
    assert batch.wav.shape == batch.clean.shape == (5, SIZE) and batch.wav.dtype == torch.float32
    assert batch.label.dtype == torch.int64 and batch.targets is None and batch.utterances is None
    plain = loaded(crops(corpus), 0)[0]
    assert plain.wav is plain.clean
    assert torch.equal(plain.to("cpu").wav, plain.wav)


def test_whole_utterances(corpus):
    dataset = crops(corpus, whole=True)
    batch = dataset.collate([dataset[i] for i in range(4)])
    assert [len(u) for u in batch.utterances] == [SIZE, SIZE, 14_400, 21_392]
    for index, utterance in enumerate(batch.utterances):
        start = batch.start_frames[index] * 320
        assert torch.equal(utterance[start : start + SIZE], batch.clean[index])


@pytest.mark.parametrize(("batch_size", "batches"), [(5, 3), (16, 1), (100, 1), (1, 16)])
def test_an_epoch_takes_every_utterance_once(corpus, batch_size, batches):
    dataset = crops(corpus)
    sampler = EpochSampler(dataset, batch_size)
    orders = []
    for epoch in (1, 2, 1):
        dataset.epoch = epoch
        epoch_batches = list(sampler)
        assert len(epoch_batches) == len(sampler) == batches
        assert {len(batch) for batch in epoch_batches} == {min(batch_size, 16)}
        orders.append([i for batch in epoch_batches for i in batch])
        assert len(set(orders[-1])) == len(orders[-1]) == batches * min(batch_size, 16)
    assert orders[0] == orders[2] and orders[0] != orders[1]


def test_one_speaker_is_too_few(corpus):
    items = Utterances.of(item for item in load_utterances(corpus.train) if item.spk == "s1")
    with pytest.raises(DataError, match="training needs at least two speakers; found 1"):
        CropDataset(items, SIZE)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_file_is_named_by_a_worker_too(tmp_path, num_workers):
    utterances = []
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(9000, 0.1), 16_000)
        utterances.append(Utterance(name, name, str(tmp_path / f"{name}.wav"), name))
    write_data_dir(tmp_path / "data", utterances)
    dataset = CropDataset(load_utterances(tmp_path / "data"), SIZE)
    Path(tmp_path / "b.wav").write_bytes(b"RIFF")
    [error] = loaded(dataset, 0, num_workers=num_workers)
    assert isinstance(error, AudioError)
    assert str(error).startswith(f"{tmp_path}/b.wav: cannot read audio of 'b'; found ")
    assert "Traceback" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def hidden_crops(corpus, seed=0):
    items = load_utterances(corpus.train)
    torch.manual_seed(13)
    hidden = [[torch.randn(3, 20 + i, 4).half() for _ in range(1 + i % 2)] for i in range(len(items))]
    return HiddenCrops(items, hidden, 20, seed), hidden


def test_crops_of_hidden_states(corpus):
    dataset, hidden = hidden_crops(corpus)
    copies, starts = set(), set()
    for epoch in range(60):
        dataset.epoch = epoch
        crop, label = dataset[3]
        assert crop.shape == (3, 20, 4) and label == 0
        found = [
            (copy, start)
            for copy, states in enumerate(hidden[3])
            for start in range(4)
            if torch.equal(states[:, start : start + 20], crop)
        ]
        assert len(found) == 1
        copies.add(found[0][0])
        starts.add(found[0][1])
    assert copies == {0, 1} and starts == {0, 1, 2, 3}
    [batch] = loaded(dataset, 1, batch_size=16)
    assert len(batch.hidden) == 3 and batch.hidden[0].shape == (16, 20, 4) and batch.hidden[0].dtype == torch.float32
    order = next(iter(EpochSampler(dataset, 16)))
    assert batch.label.tolist() == [i // 4 for i in order]
    assert torch.equal(batch.hidden[2][0], dataset[order[0]][0][2].float())
    assert torch.equal(loaded(hidden_crops(corpus)[0], 1, num_workers=1, batch_size=16)[0].hidden[1], batch.hidden[1])


def test_pinned_and_moved_a_batch_keeps_what_it_has(corpus, monkeypatch):
    """(Memory is pinned where there is a GPU only: here each tensor is copied.)"""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    dataset = crops(corpus, whole=True)
    batch = dataset.collate([dataset[i] for i in (0, 5)])
    batch.targets, batch.teacher_embedding = {3: torch.ones(2, 4, 5)}, torch.ones(2, 7)
    for copy in (batch.pin_memory(), batch.pin_memory().to("cpu")):
        assert copy.wav is copy.clean and copy.wav is not batch.wav and torch.equal(copy.wav, batch.wav)
        assert torch.equal(copy.label, batch.label) and copy.label is not batch.label
        assert torch.equal(copy.targets[3], batch.targets[3]) and copy.targets[3] is not batch.targets[3]
        assert all(map(torch.equal, copy.utterances, batch.utterances))
        assert copy.teacher_embedding is not batch.teacher_embedding
        assert copy.start_frames == batch.start_frames and copy.cached is None


def test_processes_that_stay_see_the_epoch(corpus):
    dataset = crops(corpus)
    loader = torch.utils.data.DataLoader(
        dataset, batch_sampler=EpochSampler(dataset, 16), num_workers=1, persistent_workers=True, collate_fn=lambda x: x
    )
    for epoch in (1, 2):
        dataset.epoch = epoch
        order = dataset.order()
        for example, index in zip(next(iter(loader)), order, strict=True):
            assert np.array_equal(example["wav"], dataset[index]["wav"])
