"""Teacher targets on disk: sliced along a crop, and refused when they are not those of the data."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from svtk.data.crops import CropDataset
from svtk.data.cuts import load_cuts, load_utterances
from svtk.data.targets import Targets, TargetsInfo
from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter

INFO = TargetsInfo("teacher", "0a", 5, 4, [1, 3], 0.5, "none")


@pytest.fixture
def made(tmp_path):
    """Targets of two layers for three utterances of 24, 25 and 40 frames."""
    rng = np.random.default_rng(14)
    states = {}
    for layer in INFO.layers:
        with TableWriter(f"ark,scp:{tmp_path}/layer{layer}.ark,{tmp_path}/layer{layer}.scp") as writer:
            for utt, frames in (("a", 24), ("b", 25), ("c", 40)):
                states[utt, layer] = rng.standard_normal((frames, 5)).astype(np.float32)
                writer.write(utt, states[utt, layer])
    (tmp_path / "targets.json").write_text(json.dumps(dataclasses.asdict(INFO)))
    return SimpleNamespace(path=tmp_path, states=states)


@pytest.mark.parametrize(("utt", "start"), [("a", 0), ("c", 0), ("c", 7), ("c", 16)])
def test_frames_of_a_crop(made, utt, start):
    targets = Targets(made.path, [1, 3])
    assert targets.info == INFO
    found = targets.read(utt, start, 24)
    assert list(found) == [1, 3]
    for layer, matrix in found.items():
        assert matrix.dtype == np.float32 and matrix.shape == (24, 5)
        assert np.array_equal(matrix, made.states[utt, layer][start : start + 24])


def test_only_the_layers_asked_for(made):
    (made.path / "layer1.scp").unlink()
    assert list(Targets(made.path, [3]).read("a", 0, 24)) == [3]


def test_one_frame_may_be_missing_at_the_end(made):
    """A student with a log-mel frontend has 150 frames in 3 s, a teacher that hears the waveform 149."""
    assert Targets(made.path, [1]).read("a", 0, 25)[1].shape == (24, 5)
    with pytest.raises(DataError, match=r"layer1\.scp: too few frames for 'a'; found 24; expected at least 25"):
        Targets(made.path, [1]).read("a", 0, 26)
    with pytest.raises(DataError, match="too few frames"):
        Targets(made.path, [1]).read("a", 2, 24)


def test_collate_trims_a_batch_to_its_shortest(made):
    targets = Targets(made.path, [1, 3])
    examples = [
        {"clean": np.zeros(1), "wav": np.zeros(1), "label": 0, "start_frame": 0, "targets": targets.read(utt, 0, 25)}
        for utt in "abc"
    ]
    batch = CropDataset.collate(examples)
    assert {layer: tuple(states.shape) for layer, states in batch.targets.items()} == {1: (3, 24, 5), 3: (3, 24, 5)}
    assert torch.equal(batch.targets[3][1], torch.from_numpy(made.states["b", 3][:24]))


def test_crops_with_targets(corpus, tmp_path):
    """Each crop comes with the frames that lie under it."""
    with TableWriter(f"ark,scp:{tmp_path}/layer1.ark,{tmp_path}/layer1.scp") as writer:
        for cut in load_cuts(corpus.train):
            frames = (max(cut.num_samples, 8000) - 400) // 320 + 1
            writer.write(cut.id, np.arange(frames, dtype=np.float32)[:, None] + np.zeros((1, 5), np.float32))
    (tmp_path / "targets.json").write_text(json.dumps({**dataclasses.asdict(INFO), "layers": [1]}))
    dataset = CropDataset(load_utterances(corpus.train), 8000, targets=Targets(tmp_path, [1]), crop_frames=24)
    for epoch in range(30):
        dataset.epoch = epoch
        for index in range(4):
            example = dataset[index]
            assert example["targets"][1][:, 0].tolist() == list(
                range(example["start_frame"], example["start_frame"] + 24)
            )


def test_utterances_without_targets(made, corpus):
    with pytest.raises(DataError, match=r"layer1\.scp: 16 utterance\(s\) have no teacher target, first 's0-0'"):
        CropDataset(load_utterances(corpus.train), 8000, targets=Targets(made.path, [1]), crop_frames=24)
    Targets(made.path, [1, 3]).check(["a", "c"])


def test_a_layer_that_was_not_kept(made):
    with pytest.raises(DataError, match=r"no teacher targets of layer 2; found layers \[1, 3\].*--layers 1,2,3"):
        Targets(made.path, [1, 2])


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"teacher": "x"}'])
def test_not_such_a_directory(made, text):
    (made.path / "targets.json").unlink()
    if text is not None:
        (made.path / "targets.json").write_text(text)
    with pytest.raises(DataError, match="no readable targets.json. To mend: run svtk extract-targets"):
        Targets(made.path, [1])
