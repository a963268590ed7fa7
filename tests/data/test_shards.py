from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from svtk.data.audio import read_audio
from svtk.data.crops import CropDataset, EpochSampler
from svtk.data.cuts import load_utterances
from svtk.data.shards import ShardReadahead, Shards
from svtk.data.utterances import Located, Utterances
from svtk.errors import AudioError
from svtk.prepare.shards import make_shards


def listed(num_shards=20, per_shard=50, seed=0):
    """Utterances whose places say nothing of where they lie."""
    places = np.random.default_rng(seed).permutation(num_shards * per_shard)
    wavs = [f"/s/{place // per_shard}.tar:{512 + 1000 * (place % per_shard)}" for place in places]
    return Utterances.of(Located(f"u{i:04d}", f"s{i % 7}", wav, 0, 16_000) for i, wav in enumerate(wavs))


@pytest.fixture(scope="module")
def shard_dir(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    make_shards(corpus.train, out, per_shard=5)
    return out


def test_only_what_lies_in_shards_altogether():
    items = list(listed())
    assert Shards.of(Utterances.of(items)) is not None
    for wav in ("/s/0.wav", "cat /s/0.tar:512 |", "/s/0.ark:512"):
        assert Shards.of(Utterances.of([*items, Located("x", "s1", wav, 0, 1)])) is None
        assert Shards.of(Utterances.of([Located("x", "s1", wav, 0, 1), *items])) is None


def test_the_stream_reads_shards_from_front_to_back():
    items = listed()
    shards = Shards.of(items)
    places = [items[i].wav.split(":") for i in shards.stream(np.random.default_rng(1))]
    for first in range(0, 1000, 50):
        paths, offsets = zip(*places[first : first + 50], strict=True)
        assert len({*paths}) == 1 and [int(x) for x in offsets] == sorted(map(int, offsets))
    assert len({path for path, _ in places}) == 20


def test_the_order_is_the_stream_through_a_buffer():
    shards = Shards.of(listed())
    stream, order = (draw(np.random.default_rng(1)) for draw in (shards.stream, lambda rng: shards.order(rng, 100)))
    assert sorted(order) == list(range(1000)) and list(order) != list(stream)
    moved = np.argsort(order)[stream] - np.arange(1000)  # how much later than it was read
    assert np.abs(moved).max() < 100 and np.abs(moved).mean() > 20
    assert list(shards.order(np.random.default_rng(1), 1)) == list(stream)
    assert list(shards.order(np.random.default_rng(2), 100)) != list(order)


def test_reading_ahead_tells_each_byte_once(monkeypatch):
    """In the order of the stream, before it is wanted, whichever batches a process gets."""
    items, told = listed(), []
    shards = Shards.of(items)
    monkeypatch.setattr("svtk.data.shards.open_shard", lambda path: Path(path))
    monkeypatch.setattr(Path, "fileno", lambda self: int(self.stem), raising=False)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, size, _: told.append((fd, start, start + size)))
    readahead = ShardReadahead(shards, seed=3, ahead=64)
    order = shards.order(np.random.default_rng((3, 5)), 100)
    for first in range(0, 1000, 32):  # every second batch
        batch = order[first : first + 16]
        readahead.want(batch, 5)
        for shard, offset in zip(shards.shard_of[batch], shards.offsets[batch], strict=True):
            name = int(Path(shards.paths[shard]).stem)
            assert any(fd == name and start <= offset < end for fd, start, end in told)
    assert sorted({fd for fd, *_ in told}) == list(range(20))
    begins = [(fd, start) for fd, start, _ in told]
    assert len({*begins}) == len(begins)
    assert max(end - start for _, start, end in told) <= 128 * 1024  # more than that Linux may leave out


def test_crops_are_those_from_files(corpus, shard_dir):
    files, shards = (CropDataset(load_utterances(path), 8000, seed=4) for path in (corpus.train, shard_dir))
    for epoch in (1, 2):
        files.epoch = shards.epoch = epoch
        for index in range(16):
            one, other = files[index], shards[index]
            assert np.array_equal(one["wav"], other["wav"]) and one["label"] == other["label"]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_take_an_epoch_once_in_the_order_of_the_shards(shard_dir, num_workers):
    dataset = CropDataset(load_utterances(shard_dir), 8000, seed=4, shuffle_buffer=3)
    seen = []
    for epoch in (1, 2, 1):
        dataset.epoch = epoch
        sampler = EpochSampler(dataset, 4)
        loader = torch.utils.data.DataLoader(
            dataset, batch_sampler=sampler, num_workers=num_workers, collate_fn=dataset.collate
        )
        orders = [index for batch in sampler for index in batch]
        assert sorted(orders) == list(range(16))
        assert [x for batch in loader for x in batch.label.tolist()] == [int(dataset.labels[i]) for i in orders]
        seen.append(orders)
    assert seen[0] == seen[2] != seen[1]


def test_a_damaged_shard(shard_dir, tmp_path):
    shard = tmp_path / "0.tar"
    for name, found, message in (
        ("cut", lambda data: data[:3000], "the shard is cut off at 3000 bytes"),
        ("nothing", lambda data: b"", "the shard is cut off at 0 bytes"),
        ("other", lambda data: b"x" * 100_000, "no entry of a shard begins at this offset"),
    ):
        shard = tmp_path / f"{name}.tar"
        shard.write_bytes(found((shard_dir / "shards" / "000000.tar").read_bytes()))
        with pytest.raises(AudioError, match=f"{name}.tar:512: cannot read audio of 'u': {message}.*make-shards again"):
            read_audio(f"{shard}:512", utt="u")
    with pytest.raises(AudioError, match="gone.tar:512: .*cannot open the shard: No such file.*moved, run svtk make"):
        read_audio(f"{tmp_path}/gone.tar:512")
    with pytest.raises(AudioError, match="no entry of a shard begins"):
        read_audio(f"{shard_dir}/shards/000000.tar:1000")


def test_a_shard_of_what_is_no_audio(tmp_path):
    (tmp_path / "u.wav").write_bytes(b"x" * 1000)
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tmp_path / "u.wav", "u.wav")
    with pytest.raises(AudioError, match="0.tar:512: cannot read audio; found Format not recognised"):
        read_audio(f"{tmp_path}/0.tar:512")
