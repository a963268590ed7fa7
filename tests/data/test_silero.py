import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from svtk.data.silero import Silero
from svtk.data.speech_activity import EnergyOptions, num_frames
from svtk.prepare.espeak import Synthesizer

pytest.importorskip("silero_vad", reason="silero-vad is not installed (pip install 'svtk[silero]')")


@pytest.fixture(scope="module")
def silero():
    threads = torch.get_num_threads()
    model = Silero()
    assert torch.get_num_threads() == threads  # importing silero_vad would set it to one
    return model


@pytest.mark.parametrize("num_samples", [0, 100, 512, 5000])
def test_a_row_for_every_frame(silero, num_samples):
    loglikes = silero(np.random.default_rng(0).standard_normal(num_samples).astype(np.float32) * 0.01)
    assert loglikes.shape == (num_frames(num_samples, EnergyOptions()), 2) and loglikes.dtype == np.float32
    np.testing.assert_allclose(np.exp(loglikes).sum(axis=1), 1, rtol=1e-5)


def test_speech_and_what_is_none(silero):
    spoken = Synthesizer().speak("The north wind and the sun were disputing which was the stronger", "en-us+f3")
    speech = resample_poly(spoken, 320, 441).astype(np.float32)
    noise = (0.003 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    loglikes = silero(np.concatenate([noise, speech, noise]))
    ratio = loglikes[:, 1] - loglikes[:, 0]
    assert (ratio[:90] < 0).mean() > 0.9 and (ratio[110 : 90 + len(speech) // 160] > 0).mean() > 0.7


def test_an_utterance_does_not_hang_on_the_one_before(silero):
    wav = np.random.default_rng(1).standard_normal(8000).astype(np.float32) * 0.1
    first = silero(wav)
    silero(np.zeros(3000, np.float32))
    np.testing.assert_array_equal(silero(wav), first)
