from __future__ import annotations

import numpy as np
import pytest

from svtk.config import from_mapping
from svtk.data.crops import CropDataset
from svtk.data.cuts import load_utterances
from svtk.data.resample import resample
from svtk.data.speed import Config, num_perturbed, read_perturbed
from svtk.errors import ConfigError
from svtk.train.options import TrainOptions

BOTH = Config((0.9, 1.1))


def tone(frequency, num_samples):
    return np.sin(2 * np.pi * frequency * np.arange(num_samples) / 16_000).astype(np.float32)


@pytest.mark.parametrize(("factor", "expected"), [(0.9, 10_667), (1.1, 8728), (0.5, 19_200), (2.0, 4800)])
def test_length_and_pitch(factor, expected):
    wav = tone(440, 9600)
    slow = read_perturbed(lambda first, size: wav[first : first + size], 9600, factor, 0, num_perturbed(9600, factor))
    assert len(slow) == num_perturbed(9600, factor) == expected
    peak = np.abs(np.fft.rfft(slow * np.hanning(len(slow)), 1 << 16)).argmax() * 16_000 / (1 << 16)
    assert peak == pytest.approx(440 * factor, rel=0.002)
    assert np.abs(slow[500:-500]).max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.95, 1.37])
def test_a_part_is_that_of_the_whole(factor):
    """To the last bit, wherever it lies, read from near there only."""
    wav = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    whole = resample(wav, round(16_000 * factor))
    assert len(whole) == num_perturbed(9000, factor)
    asked = []

    def read(first, size):
        assert first >= 0 and first + size <= 9000
        asked.append(size)
        return wav[first : first + size]

    for start in (0, 1, 319, 3200, 5001, len(whole) - 1000):
        assert np.array_equal(read_perturbed(read, 9000, factor, start, 1000), whole[start : start + 1000])
    assert max(asked) < 1000 * factor + 800


def crops(corpus, **options):
    return CropDataset(load_utterances(corpus.train), 4000, seed=3, **options)


def test_crops_are_drawn_at_all_speeds(corpus):
    """The same in every run; the own speed's are cut where they would be, on the frame grid."""
    one, again = (crops(corpus, perturbation=BOTH, cache=cache) for cache in (False, True))
    seen = set()
    for epoch in range(1, 7):
        one.epoch = again.epoch = epoch
        for index in range(16):
            example, same = one[index], again[index]
            np.testing.assert_allclose(example["wav"], same["wav"], atol=1e-4)
            assert example["label"] == one.labels[index] and example["wav"].shape == (4000,)
            start, own = example["start_frame"] * 320, one._read(index)
            for factor in (1.0, 0.9, 1.1):
                heard = own if factor == 1 else resample(own, round(16_000 * factor))
                if np.array_equal(np.resize(heard[start : start + 4000], 4000), example["clean"]):
                    seen.add((factor, index))
                    break
            else:
                raise AssertionError("no crop of the utterance at any speed")
    assert {factor for factor, _ in seen} == {0.9, 1.0, 1.1} and len(seen) > 36


def test_the_teacher_hears_the_whole_utterance_at_the_same_speed(corpus):
    dataset = crops(corpus, perturbation=BOTH, whole=True)
    dataset.epoch = 1
    lengths = set()
    for index in range(16):
        example = dataset[index]
        start = example["start_frame"] * 320
        assert np.array_equal(example["utterance"][start : start + 4000], example["clean"])
        lengths.add(len(example["utterance"]) / len(dataset._read(index)))
    assert max(lengths) == pytest.approx(1 / 0.9, rel=0.001) and min(lengths) == pytest.approx(1 / 1.1, rel=0.001)


def test_new_speakers(corpus):
    plain, dataset = crops(corpus, perturbation=BOTH), crops(corpus, perturbation=Config((0.9, 1.1), True))
    assert plain.speakers == ["s0", "s1", "s2", "s3"]
    assert dataset.speakers == [f"s{i}{sp}" for sp in ("", "-sp0.9", "-sp1.1") for i in range(4)]
    found = set()
    for epoch in range(1, 9):
        plain.epoch = dataset.epoch = epoch
        for index in range(16):
            one, other = plain[index], dataset[index]
            assert np.array_equal(one["wav"], other["wav"]) and other["label"] % 4 == one["label"]
            found.add(other["label"])
    assert found == set(range(12))


def test_without_it_nothing_is_drawn(corpus):
    one, other = crops(corpus), crops(corpus, perturbation=Config(new_speakers=True))
    one.epoch = other.epoch = 2
    assert all(np.array_equal(one[i]["wav"], other[i]["wav"]) for i in range(16)) and one.speakers == other.speakers


@pytest.mark.parametrize("name", ["targets", "teacher_embeddings"])
def test_what_was_computed_at_the_own_speed_is_refused(corpus, name):
    what = name.removeprefix("teacher_")
    with pytest.raises(ConfigError, match=rf"teacher {what} are of the utterances at their own speed; found .*0\.9, 1"):
        crops(corpus, perturbation=BOTH, **{name: object()})


@pytest.mark.parametrize("factors", [[1.0], [0.4], [2.5], [0.9, 0.9], [0.905]])
def test_wrong_factors(factors):
    with pytest.raises(ConfigError, match="factors must"):
        from_mapping(TrainOptions, {"augment": {"speed": {"factors": factors}}})
