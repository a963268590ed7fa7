from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from svtk.data.features import LogMel


@pytest.mark.parametrize("num_mels", [80, 128])
def test_log_mel_is_whispers(num_mels):
    rng = np.random.default_rng(4)
    wav = (0.05 * rng.standard_normal(480_000) * np.linspace(0, 1, 480_000) ** 4).astype(np.float32)
    wav[:20_000] = 0  # where the floor of 1e-10 and the one 8 below the maximum both act
    expected = WhisperFeatureExtractor(feature_size=num_mels)(wav, sampling_rate=16_000)["input_features"][0]
    found = LogMel(num_mels)(torch.from_numpy(wav)[None])[0].numpy()
    assert found.shape == expected.shape == (num_mels, 3000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert found.min() == pytest.approx(found.max() - 2.0, abs=1e-6)


def test_each_wav_has_its_own_floor():
    log_mel = LogMel()
    wav = torch.randn(2, 8000) * torch.tensor([[1.0], [1e-3]])
    torch.testing.assert_close(log_mel(wav)[1:], log_mel(wav[1:]))


@pytest.mark.parametrize("num_samples", [400, 1600, 1759, 1760])
def test_frames_of_ten_milliseconds(num_samples):
    assert LogMel()(torch.randn(1, num_samples)).shape == (1, 80, num_samples // 160)


def test_nothing_of_it_is_saved_or_trained():
    assert LogMel().state_dict() == {} and list(LogMel().parameters()) == []
