"""Channels that change what they should, nothing else, and nothing by chance."""

from __future__ import annotations

import numpy as np
import pytest

from svtk.config import from_mapping
from svtk.data.augment import Augmenter
from svtk.data.augment import Config as AugmentConfig
from svtk.data.distort import CODECS, Config, clip, coloured_noise, distort, through_codec
from svtk.errors import ConfigError

RATE = 16_000


def speech_like(num_samples: int = 2 * RATE, seed: int = 3) -> np.ndarray:
    """Tones up to 3 kHz, coming and going."""
    rng, t = np.random.default_rng(seed), np.arange(num_samples) / RATE
    tones = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) / (1 + i) for i, f in enumerate(range(200, 3000, 190)))
    return (0.1 * tones * (1 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("num_samples", [2 * RATE, 2 * RATE - 7])
def test_a_codec_keeps_the_speech_where_it_is(codec, num_samples):
    wav = speech_like(num_samples)
    decoded = through_codec(wav, codec)
    assert decoded.dtype == np.float32 and decoded.shape == wav.shape and not np.array_equal(decoded, wav)
    inner, reach = slice(4000, -4000), 40
    products = [float(wav[inner] @ np.roll(decoded, shift)[inner]) for shift in range(-reach, reach + 1)]
    assert abs(int(np.argmax(products)) - reach) <= 1
    assert np.corrcoef(wav[inner], decoded[inner])[0, 1] > 0.9


@pytest.mark.parametrize("codec", ["ulaw", "gsm"])
def test_a_telephone_has_no_high_band(codec):
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    power = np.abs(np.fft.rfft(through_codec(noise, codec))) ** 2
    assert power[4500:].sum() < 0.01 * power[:4000].sum()


def test_a_loud_wav_is_not_clipped_by_a_codec():
    wav = 30 * speech_like()
    np.testing.assert_allclose(through_codec(wav, "ulaw") / 30, through_codec(wav / 30, "ulaw"), atol=0.03)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_clipping_reaches_this_share(share):
    wav = speech_like()
    clipped = clip(wav, share)
    assert np.mean(clipped != wav) == pytest.approx(share, abs=1e-3)
    assert np.array_equal(clipped, np.clip(wav, -np.abs(clipped).max(), np.abs(clipped).max()))


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_colour_of_noise(slope):
    noise = coloured_noise(20 * RATE, slope, np.random.default_rng(2))
    assert np.mean(noise**2) == pytest.approx(1)
    frequency, power = np.fft.rfftfreq(len(noise), 1 / RATE), np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[(low <= frequency) & (frequency < 2 * low)].mean() for low in (100, 200, 400, 800, 1600, 3200)]
    assert np.polyfit(np.arange(6), np.log2(octaves), 1)[0] == pytest.approx(-slope, abs=0.1)


def test_coloured_noise_at_its_level():
    wav, config = speech_like(), Config(prob=1.0, kinds=("coloured_noise",), snr=(7.0, 7.0))
    added = distort(wav, config, np.random.default_rng(0)) - wav
    assert 10 * np.log10(np.mean(wav**2) / np.mean(added**2)) == pytest.approx(7, abs=0.01)


def test_a_function_of_the_generator_alone():
    wav, config = speech_like(8000), Config(prob=0.8)
    runs = [[distort(wav, config, np.random.default_rng(seed)) for seed in range(25)] for _ in range(2)]
    assert all(np.array_equal(one, other) for one, other in zip(*runs, strict=True))
    kept = sum(one is wav for one in runs[0])
    assert 0 < kept < 15 and len({one.tobytes() for one in runs[0]}) > 15
    assert all(np.isfinite(one).all() and one.dtype == np.float32 for one in runs[0])


@pytest.mark.parametrize("kind", ["clip", "coloured_noise", "codec"])
def test_silence_stays_silence(kind):
    silence = np.zeros(4000, np.float32)
    found = distort(silence, Config(prob=1.0, kinds=(kind,), codecs=("vorbis",)), np.random.default_rng(0))
    assert np.abs(found).max() < 1e-3


def test_without_it_nothing_is_drawn(corpus):
    wav, rng = speech_like(8000), np.random.default_rng(0)
    assert distort(wav, Config(), rng) is wav
    assert rng.random() == np.random.default_rng(0).random()
    old = Augmenter(corpus.noise, AugmentConfig(prob=1.0))(wav, np.random.default_rng(5))
    channel = AugmentConfig(prob=1.0, distort=Config(prob=1.0, kinds=("clip",), clipped=(0.1, 0.1)))
    assert np.array_equal(Augmenter(corpus.noise, channel)(wav, np.random.default_rng(5)), clip(old, 0.1))


def test_no_noise_directory_is_needed():
    wav = speech_like(8000)
    assert Augmenter(None, AugmentConfig(prob=1.0))(wav, np.random.default_rng(0)) is wav
    channel = AugmentConfig(distort=Config(prob=1.0, kinds=("clip",)))
    assert not np.array_equal(Augmenter(None, channel)(wav, np.random.default_rng(0)), wav)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 2}, r"prob must lie in \[0, 1\]"),
        ({"kinds": ["codecs"]}, "kinds must be some of codec, clip, coloured_noise"),
        ({"codecs": []}, "codecs must be some of ulaw, alaw, gsm, vorbis, opus, mp3"),
        ({"clipped": [0.1, 1.0]}, r"clipped must lie in \[0, 1\)"),
        ({"snr": [3]}, r"snr must be \[low, high\]"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(AugmentConfig, {"distort": options}, "augment")
