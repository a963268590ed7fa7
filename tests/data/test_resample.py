"""Resampling: tones keep their place and size, those that have none vanish, and pieces make no difference."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from svtk.data import resample as module
from svtk.data.resample import Resampler, resample, to_mono
from svtk.errors import AudioError

RATES = [8000, 11_025, 16_000, 22_050, 12_345, 44_100, 48_000, 96_000]


def tone(rate, hertz, num_samples):
    return np.sin(2 * np.pi * hertz * np.arange(num_samples) / rate)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_where_and_as_loud_as_it_was(rate):
    hertz, num_samples = 0.44 * min(rate, 16_000), rate + 17
    found = resample(tone(rate, hertz, num_samples), rate)
    assert found.dtype == np.float32 and len(found) == -(-num_samples * 16_000 // rate)
    middle = slice(3000, -3000)  # silence begins beyond the ends
    np.testing.assert_allclose(found[middle], tone(16_000, hertz, len(found))[middle], atol=2e-5)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_16_khz_cannot_hold_vanishes(rate):
    assert np.abs(resample(tone(rate, 8100, rate), rate)[3000:-3000]).max() < 2e-5


@pytest.mark.parametrize("rate", RATES)
def test_pieces_make_no_difference(rate):
    rng = np.random.default_rng(rate)
    wav, resampler, parts, place = rng.standard_normal(rate // 2 + 11), Resampler(rate), [], 0
    while place < len(wav):
        size = int(rng.integers(0, 2500))
        parts.append(resampler.push(wav[place : place + size]))
        place += size
    parts.append(resampler.finish())
    np.testing.assert_array_equal(np.concatenate(parts), resample(wav, rate))


@pytest.mark.parametrize("rate", [0, -1, 16_000.5, True, 2_000_000])
def test_no_rate(rate):
    with pytest.raises(AudioError, match="not a sampling rate"):
        resample(np.zeros(5), rate)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([[1, 0], [0.5, 0.5], [0, 0]]), [0.5, 0.5, 0]),
        (np.array([[1, 0.5, 0], [0, 0.5, 0]]), [0.5, 0.5, 0]),
        (np.array([[1.0, 0.5, 0]]), [1, 0.5, 0]),
        (torch.tensor([[16384, 0, -16384]], dtype=torch.int16), [0.5, 0, -0.5]),
        ([0.25, -0.25], [0.25, -0.25]),
    ],
)
def test_any_samples_become_one_channel(samples, expected):
    found = to_mono(samples)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(expected))


@pytest.mark.parametrize("samples", [[], np.zeros((2, 2, 2)), ["a"], np.zeros(0), 3.0, np.array([1j])])
def test_no_samples(samples):
    with pytest.raises(AudioError, match="these are no samples"):
        to_mono(samples)


def test_samples_that_are_not_finite():
    with pytest.raises(AudioError, match="not finite"):
        to_mono([0.0, np.nan])


def test_examples():
    assert doctest.testmod(module).failed == 0
