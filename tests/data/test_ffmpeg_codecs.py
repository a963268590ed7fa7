"""Codecs by ffmpeg: in their place, the same each time, and an error that says so where there is none."""

from __future__ import annotations

import stat

import numpy as np
import pytest
from scipy.signal import lfilter

from svtk.data.augment import Augmenter
from svtk.data.augment import Config as AugmentConfig
from svtk.data.distort import Config, through_codec
from svtk.data.ffmpeg_codecs import FFMPEG_CODECS
from svtk.errors import AudioError, ConfigError

RATE = 16_000


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """ffmpeg alone on PATH."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def augmenter(*codecs, prob=1.0):
    return Augmenter(None, AugmentConfig(distort=Config(prob, ("codec",), codecs)))


def speech_like(num_samples):
    """Noise with a formant at 1 kHz, coming and going: low tones would come out early, by a codec's high-pass."""
    rng = np.random.default_rng(3)
    noise = lfilter([1], [1, -1.7, 0.85], rng.standard_normal(num_samples))
    level = np.repeat(rng.random(num_samples // 800 + 1), 800)[:num_samples]
    return (0.3 * noise * level / np.abs(noise * level).max()).astype(np.float32)


@pytest.mark.parametrize("codec", FFMPEG_CODECS)
@pytest.mark.parametrize("num_samples", [2 * RATE, 2 * RATE - 7])
def test_a_codec_keeps_the_speech_where_it_is(ffmpeg, codec, num_samples):
    wav = speech_like(num_samples)
    decoded = augmenter(codec)(wav, np.random.default_rng(0))
    assert decoded.dtype == np.float32 and decoded.shape == wav.shape and not np.array_equal(decoded, wav)
    inner, reach = slice(4000, -4000), 60
    products = [float(wav[inner] @ np.roll(decoded, shift)[inner]) for shift in range(-reach, reach + 1)]
    assert abs(int(np.argmax(products)) - reach) <= 2
    assert np.corrcoef(wav[inner], decoded[inner])[0, 1] > 0.7
    assert np.array_equal(decoded, through_codec(wav, codec))


def test_no_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"'aac' needs ffmpeg; found none on PATH. To mend: leave it out of augment\.d"
    ):
        augmenter("gsm", "aac")
    augmenter("aac", prob=0.0)
    augmenter("gsm")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_ffmpeg_without_the_encoder_and_one_that_fails(monkeypatch, tmp_path):
    script(tmp_path / "ffmpeg", "echo ' A....D aac  AAC'; echo it broke >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="codec 'amr_nb' needs ffmpeg's libopencore_amrnb"):
        augmenter("aac", "amr_nb")
    with pytest.raises(AudioError, match="codec 'aac': ffmpeg failed; found it broke"):
        augmenter("aac")(speech_like(RATE), np.random.default_rng(0))
