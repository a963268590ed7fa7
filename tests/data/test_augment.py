"""Noise at the level asked for, and rooms that leave the direct sound and the power where they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from svtk.config import from_mapping
from svtk.data.augment import Augmenter, Config, add_at_snr
from svtk.data.cuts import load_cuts
from svtk.errors import ConfigError, DataError
from svtk.kaldi.datadir import Utterance, write_data_dir

ALWAYS = {"prob": 1.0}


def wav(num_samples=8000, seed=10):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def only(corpus, tmp_path, *kinds):
    for kind in kinds:
        (tmp_path / kind).symlink_to(Path(corpus.noise) / kind)
    return tmp_path


def snr(clean, noisy):
    noise = noisy.astype(np.float64) - clean
    return 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2))


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 13.7, 20.0])
def test_add_at_snr(decibels):
    clean, noise = wav(), 3 * wav(seed=11)
    noisy = add_at_snr(clean, noise, decibels)
    assert noisy.dtype == np.float32 and snr(clean, noisy) == pytest.approx(decibels, abs=1e-3)
    added = noisy - clean
    assert np.corrcoef(added, noise)[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("clean", "noise"), [(wav() * 0, wav()), (wav(), wav() * 0)])
def test_silence_stays_finite(clean, noise):
    assert np.array_equal(add_at_snr(clean, noise, 5.0), clean)


@pytest.mark.parametrize(
    ("kind", "key", "low", "high"),
    [("noise", "noise_snr", 0, 15), ("music", "music_snr", 5, 15), ("speech", "babble_snr", 13, 20)],
)
def test_levels_of_each_kind(corpus, tmp_path, kind, key, low, high):
    augmenter, clean = Augmenter(only(corpus, tmp_path, kind), Config(prob=1.0)), wav()
    levels = [snr(clean, augmenter(clean, np.random.default_rng(seed))) for seed in range(60)]
    assert low - 1e-3 <= min(levels) < low + 0.3 * (high - low)
    assert high - 0.3 * (high - low) < max(levels) <= high + 1e-3
    fixed = Augmenter(tmp_path, from_mapping(Config, {**ALWAYS, key: [7, 7]}))
    assert snr(clean, fixed(clean, np.random.default_rng(0))) == pytest.approx(7, abs=1e-3)


def test_babble_is_several_voices(tmp_path):
    """Voices on different tones: as many tones come out as voices were asked for."""
    utterances = []
    for index in range(30):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (100 + 100 * index) * np.arange(16_000) / 16_000), 16_000)
        utterances.append(Utterance(f"u{index:02}", f"s{index:02}", str(path), f"u{index:02}"))
    write_data_dir(tmp_path / "noise/speech", utterances)
    config = Config(prob=1.0, babble_voices=(3, 7), babble_snr=(0.0, 0.0))
    augmenter, counts = Augmenter(tmp_path / "noise", config), set()
    for seed in range(40):
        clean = np.zeros(16_000, np.float32)
        clean[0] = 1.0  # an impulse, for a level to scale to
        added = augmenter(clean, np.random.default_rng(seed)) - clean
        spectrum = np.abs(np.fft.rfft(added))
        counts.add(int((spectrum > 0.2 * spectrum.max()).sum()))
    assert counts <= set(range(1, 8)) and {5, 6} <= counts and max(counts) <= 7


def test_a_room_keeps_the_direct_sound_in_place_and_the_power(corpus, tmp_path):
    augmenter = Augmenter(only(corpus, tmp_path, "rirs"), Config(prob=1.0))
    clean = np.zeros(8000, np.float32)
    clean[3000] = 0.5
    wet = augmenter(clean, np.random.default_rng(0))
    assert wet.dtype == np.float32 and wet.shape == clean.shape
    assert np.abs(wet).argmax() == 3000 and np.abs(wet[:3000]).max() < 1e-6
    assert np.abs(wet[3001:4500]).max() > 1e-3  # and there is a room
    assert np.mean(wet.astype(float) ** 2) == pytest.approx(np.mean(clean.astype(float) ** 2), rel=1e-4)
    rir = soundfile.read(next(iter(load_cuts(tmp_path / "rirs"))).recording.sources[0].source)[0][100:]
    speech = wav()
    expected = np.convolve(speech.astype(float), rir)[:8000]
    expected *= np.sqrt(np.mean(speech.astype(float) ** 2) / np.mean(expected**2))
    np.testing.assert_allclose(augmenter(speech, np.random.default_rng(1)), expected, atol=1e-5)
    assert np.array_equal(augmenter(np.zeros(100, np.float32), np.random.default_rng(2)), np.zeros(100))


def test_a_function_of_the_generator_alone(corpus):
    augmenter, clean = Augmenter(corpus.noise, Config(prob=1.0)), wav()
    rows = [augmenter(clean, np.random.default_rng(seed)) for seed in (0, 1, 2, 3, 4, 0, 1)]
    assert np.array_equal(rows[0], rows[5]) and np.array_equal(rows[1], rows[6])
    assert len({row.tobytes() for row in rows}) == 5
    again = Augmenter(corpus.noise, Config(prob=1.0))
    assert np.array_equal(again(clean, np.random.default_rng(3)), rows[3])


def test_short_noise_is_repeated_and_long_noise_is_cut_anywhere(corpus, tmp_path):
    augmenter, clean = Augmenter(only(corpus, tmp_path, "noise"), Config(prob=1.0, noise_snr=(0.0, 0.0))), wav()
    kinds = set()
    for seed in range(20):
        added = augmenter(clean, np.random.default_rng(seed)) - clean
        repeats = np.corrcoef(added[:3000], added[3000:6000])[0, 1] > 0.999
        kinds.add(("short", 0.0) if repeats else ("hiss", float(added[0])))
    assert ("short", 0.0) in kinds and len(kinds) > 5


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_how_often(corpus, prob):
    augmenter, clean = Augmenter(corpus.noise, Config(prob=prob)), wav(1000)
    rng = np.random.default_rng(12)
    share = np.mean([augmenter(clean, rng) is not clean for _ in range(300)])
    assert share == pytest.approx(prob, abs=0.08)


def test_no_noise_in_the_directory(tmp_path):
    with pytest.raises(DataError, match="no noise here; expected noise/, music/, speech/ or rirs/. To mend: run svtk"):
        Augmenter(tmp_path, Config())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 1.5}, r"prob must lie in \[0, 1\]"),
        ({"noise_snr": [15, 0]}, r"noise_snr must be \[low, high\]"),
        ({"babble_voices": [3]}, r"babble_voices must be \[low, high\]"),
        ({"babble_voices": [0, 0]}, "at least one voice"),
        ({"babble_voices": [3.5, 7]}, "expected a whole number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Config, options, "augment")
