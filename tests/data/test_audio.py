from __future__ import annotations

import shlex

import numpy as np
import pytest
import soundfile

from svtk.data.audio import read_audio, repeat_to
from svtk.errors import AudioError, SvtkError


@pytest.fixture
def ramp(tmp_path):
    """16 kHz mono, sample n has the value n / 32768."""
    path = tmp_path / "my audio.wav"
    soundfile.write(path, np.arange(2000, dtype=np.int16), 16000)
    return path


def values(samples):
    return (samples * 32768).tolist()


@pytest.mark.parametrize("pipe", [False, True])
def test_whole_and_part(ramp, pipe):
    wav = f"cat {shlex.quote(str(ramp))} |" if pipe else str(ramp)
    samples = read_audio(wav)
    assert samples.dtype == np.float32 and values(samples) == list(range(2000))
    assert values(read_audio(wav, 100, 50)) == list(range(100, 150))
    assert values(read_audio(wav, 1990)) == list(range(1990, 2000))


def test_opus_and_flac(tmp_path):
    wave = 0.3 * np.sin(np.arange(16000) / 5)
    for name, options in (("a.flac", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"})):
        soundfile.write(tmp_path / name, wave, 16000, **options)
        whole = read_audio(str(tmp_path / name))
        assert whole.shape == (16000,) and np.sqrt(np.mean((whole - wave)[1000:] ** 2)) < 0.02
        assert np.array_equal(read_audio(str(tmp_path / name), 5000, 3000), whole[5000:8000])


def test_errors_name_the_file(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: cannot read audio"):
        read_audio(str(tmp_path / "none.wav"))
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    with pytest.raises(AudioError, match=r"bad\.wav: cannot read audio"):
        read_audio(str(tmp_path / "bad.wav"))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match=r"empty\.wav: empty audio"):
        read_audio(str(tmp_path / "empty.wav"))
    soundfile.write(tmp_path / "phone.wav", np.zeros(100), 8000)
    with pytest.raises(
        AudioError, match=r"phone\.wav: wrong audio format; found 8000 Hz, mono; expected 16000 Hz mono"
    ):
        read_audio(str(tmp_path / "phone.wav"))
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    with pytest.raises(AudioError, match=r"stereo\.wav: wrong audio format; found 16000 Hz, 2 channels"):
        read_audio(str(tmp_path / "stereo.wav"))


def test_pipes_that_fail_are_errors(ramp):
    for pipe in ("exit 3 |", "echo nonsense |", f"cat {shlex.quote(str(ramp))}; exit 3 |"):
        with pytest.raises(SvtkError):
            read_audio(pipe)


def test_a_part_beyond_the_end(ramp):
    assert values(read_audio(str(ramp), 1900, 500)) == list(range(1900, 2000))  # what there is
    with pytest.raises(AudioError, match="my audio.wav"):
        read_audio(str(ramp), 2500, 100)


def test_repeat_to():
    assert repeat_to(np.array([1.0, 2.0, 3.0]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert repeat_to(np.array([1.0, 2.0, 3.0]), 2).tolist() == [1, 2, 3]
