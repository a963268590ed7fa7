import kaldi_native_fbank
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svtk.data.speech_activity import EnergyOptions, TwoGaussians, VadOptions, kaldi_decision, log_energy, num_frames


def noise(seconds, level, seed=0):
    """White noise of *level* dB."""
    rng = np.random.default_rng(seed)
    return (10 ** (level / 20) * rng.standard_normal(round(16_000 * seconds))).astype(np.float32)


def modulated(seconds, level, seed=0):
    """Something like running speech: noise whose level swings by 10 dB at syllables' pace."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    return noise(seconds, level, seed) * (10 ** (0.25 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def said(wav):
    """The proportion of frames that the likelier class calls speech."""
    loglikes = TwoGaussians()(log_energy(wav, EnergyOptions()), EnergyOptions().length)
    assert loglikes.shape == (num_frames(len(wav), EnergyOptions()), 2) and np.isfinite(loglikes).all()
    return (loglikes[:, 1] > loglikes[:, 0]).mean() if len(loglikes) else np.nan


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("raw_energy", [True, False])
@pytest.mark.parametrize("frame_length", [25.0, 20.0])
@pytest.mark.parametrize("num_samples", [100, 401, 16_123])
def test_energies_are_the_first_column_of_kaldis_mfcc(snip_edges, raw_energy, frame_length, num_samples):
    wav = noise(num_samples / 16_000, -20) + 0.02
    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0, snip_edges
    options.frame_opts.frame_length_ms = frame_length
    options.use_energy, options.raw_energy, options.energy_floor = True, raw_energy, 0.0
    mfcc = kaldi_native_fbank.OnlineMfcc(options)
    mfcc.accept_waveform(16_000, (wav * 32768).tolist())
    mfcc.input_finished()
    expected = [mfcc.get_frame(i)[0] for i in range(mfcc.num_frames_ready)]
    ours = EnergyOptions(frame_length=frame_length, snip_edges=snip_edges, raw_energy=raw_energy)
    found = log_energy(wav, ours)
    assert found.dtype == np.float32 and len(found) == len(expected) == num_frames(num_samples, ours)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=0, atol=5e-6)  # of about 20: float32's last digits


def test_energies_of_long_audio_are_those_of_its_parts(monkeypatch):
    wav = noise(2.0, -20)
    whole = log_energy(wav, EnergyOptions())
    monkeypatch.setattr("svtk.data.speech_activity._BLOCK", 7)
    np.testing.assert_array_equal(log_energy(wav, EnergyOptions()), whole)


def test_energy_floor_and_silence():
    silence = np.zeros(1600, np.float32)
    assert np.allclose(log_energy(silence, EnergyOptions()), np.log(np.finfo(np.float32).eps))
    assert np.allclose(log_energy(silence, EnergyOptions(energy_floor=2.0)), np.log(2.0))
    assert len(log_energy(silence[:50], EnergyOptions())) == 0


def as_compute_vad(energies, options):
    """compute-vad's rule, frame by frame."""
    energies = np.asarray(energies, np.float32)
    threshold = np.float32(options.energy_threshold)
    if options.energy_mean_scale and len(energies):
        scaled = np.float32(options.energy_mean_scale) * np.float32(energies.sum(dtype=np.float64))
        threshold = threshold + scaled / np.float32(len(energies))
    result = []
    for t in range(len(energies)):
        window = range(max(0, t - options.frames_context), min(len(energies), t + options.frames_context + 1))
        above = sum(energies[t2] > threshold for t2 in window)
        result.append(float(np.float32(above) >= np.float32(len(window)) * np.float32(options.proportion_threshold)))
    return result


@given(
    energies=st.lists(st.floats(-16, 30, width=32), max_size=40),
    options=st.builds(
        VadOptions,
        energy_threshold=st.sampled_from([0.0, 5.0, 5.5, 12.0]),
        energy_mean_scale=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        proportion_threshold=st.sampled_from([0.12, 0.2, 0.5, 0.6, 0.99]),
        frames_context=st.integers(0, 6),
    ),
)
def test_kaldis_decision(energies, options):
    found = kaldi_decision(np.array(energies, np.float32), options)
    assert found.dtype == np.float32 and found.tolist() == as_compute_vad(energies, options)


def test_kaldis_decision_by_hand():
    options = VadOptions(energy_threshold=5.0, energy_mean_scale=0.0, proportion_threshold=0.6, frames_context=1)
    energies = [1, 9, 9, 5, 1, 9]  # 5 is not above 5
    #           1/2 2/3 2/3 1/3 1/3 1/2 are above
    assert kaldi_decision(energies, options).tolist() == [0, 1, 1, 0, 0, 0]


def test_defaults_are_kaldis():
    assert VadOptions() == VadOptions(
        energy_threshold=5.0, energy_mean_scale=0.5, proportion_threshold=0.6, frames_context=0
    )


@pytest.mark.parametrize("wrong", [{"energy_mean_scale": -1.0}, {"frames_context": -1}, {"proportion_threshold": 1.0}])
def test_options_of_kaldi_that_it_refuses(wrong):
    with pytest.raises(ValueError):
        VadOptions(**wrong)


@pytest.mark.parametrize("gain", [0, -20])
def test_two_gaussians_find_speech_between_pauses(gain):
    wav = np.concatenate([noise(0.5, -55 + gain), modulated(1.0, -25 + gain, 1), noise(0.7, -55 + gain, 2)])
    loglikes = TwoGaussians()(log_energy(wav, EnergyOptions()), 400)
    truth = np.zeros(len(loglikes), bool)
    truth[50:150] = True
    assert ((loglikes[:, 1] > loglikes[:, 0]) == truth).mean() > 0.95


def test_two_gaussians_on_what_is_no_mixture():
    assert said(modulated(2.0, -25)) == 1  # nothing but speech
    assert said(noise(2.0, -20)) == 1  # or what is as loud
    assert said(noise(2.0, -75)) == 0  # nothing but a quiet room
    assert said(np.zeros(32_000, np.float32)) == 0
    assert said(np.full(32_000, 0.3, np.float32)) == 0  # an offset is no sound
    assert said(np.sign(noise(1.0, -20))) == 1  # clipped throughout


def test_two_gaussians_with_digital_silence_offset_and_clipping():
    speech = modulated(1.0, -20)
    silent = np.zeros(16_000, np.float32)
    assert 0.45 < said(np.concatenate([silent, speech])) < 0.55
    pauses = noise(1.0, -60, 1)
    assert 0.45 < said(np.concatenate([pauses, speech]) + 0.25) < 0.55
    assert 0.45 < said(np.clip(20 * np.concatenate([pauses, speech]), -1, 1)) < 0.55


@pytest.mark.parametrize("num_samples", [0, 1, 79, 80, 240, 800])
def test_two_gaussians_on_very_short_utterances(num_samples):
    assert np.isnan(said(noise(1.0, -20)[:num_samples])) == (num_samples < 80)


def test_louder_is_never_less_likely_speech():
    energies = log_energy(np.concatenate([noise(0.5, -60), modulated(0.5, -20)]), EnergyOptions())
    ratio = np.diff(TwoGaussians()(energies, 400), axis=1)[:, 0]
    assert (np.diff(ratio[np.argsort(energies)]) >= -1e-6).all()
