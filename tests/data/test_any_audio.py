"""Files of any format and pipes that are heard as they come."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from svtk.data.any_audio import hear, read_any
from svtk.data.resample import resample
from svtk.errors import AudioError


def samples(channels=1, seconds=0.5, rate=16_000):
    return 0.1 * np.random.default_rng(channels).standard_normal((round(rate * seconds), channels))


def wav(array, rate, subtype, format="WAV"):
    file = io.BytesIO()
    soundfile.write(file, array, rate, subtype=subtype, format=format)
    return file.getvalue()


class Slow(io.BytesIO):
    """A pipe through which few bytes come at a time, of odd number."""

    def read1(self, size=-1):
        return self.read(min(size, 777))


@pytest.mark.parametrize(("subtype", "tolerance"), [("PCM_16", 4e-5), ("PCM_24", 1e-6), ("PCM_32", 1e-6)])
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_a_wav_is_heard_on_the_way(subtype, tolerance, format, rate, channels):
    array = samples(channels, rate=rate)
    pieces = list(hear(Slow(wav(array, rate, subtype, format))))
    assert len(pieces) > 10
    np.testing.assert_allclose(np.concatenate(pieces), resample(array.mean(1), rate), atol=tolerance)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_of_unknown_length(size):
    array = samples()
    data = bytearray(wav(array, 16_000, "FLOAT"))
    place = data.index(b"data")
    data[place + 4 : place + 8] = struct.pack("<I", size)
    np.testing.assert_allclose(np.concatenate(list(hear(io.BytesIO(data)))), array[:, 0], atol=1e-7)


def test_what_follows_the_samples_is_not_heard():
    data = wav(samples(), 16_000, "PCM_16") + b"LIST" + struct.pack("<I", 400) + bytes(400)
    assert sum(map(len, hear(io.BytesIO(data)))) == 8000


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_other_formats_when_the_pipe_has_ended(format):
    array = np.sin(np.arange(11_025)[:, None] / [10, 30])
    [piece] = hear(Slow(wav(array, 22_050, None, format)))
    np.testing.assert_allclose(piece, resample(array.mean(1), 22_050), atol=0.1)  # OGG is lossy


def test_raw_samples():
    array = (samples(rate=8000)[:, 0] * 32768).astype("<i2")
    found = np.concatenate(list(hear(Slow(array.tobytes() + b"\0"), raw_rate=8000)))
    np.testing.assert_allclose(found, resample(array / 32768, 8000), atol=1e-7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty audio: no sample came"),
        (b"RIFF", "cannot read audio|neither"),
        (b"RIFF\0\0\0\0WAVE", "a WAV without samples"),
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", "a WAV without a format"),
        (wav(samples(), 16_000, "ULAW"), "a WAV of another kind; found format 7, 8 bits"),
        (wav(samples(), 16_000, "PCM_16")[:44], "empty audio"),
        (b"what is this, then?", "cannot read audio|neither"),
    ],
)
def test_pipes_that_cannot_be_heard(data, message):
    with pytest.raises(AudioError, match=message):
        list(hear(io.BytesIO(data)))


def test_files_and_pipes(tmp_path):
    array = samples(2, rate=48_000)
    soundfile.write(tmp_path / "a.flac", array, 48_000, subtype="PCM_24")
    expected = resample(array.mean(1), 48_000)
    np.testing.assert_allclose(read_any(str(tmp_path / "a.flac")), expected, atol=1e-6)
    np.testing.assert_allclose(read_any(f"cat {tmp_path}/a.flac |"), expected, atol=1e-6)


def test_ffmpeg_reads_what_libsndfile_does_not(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "bin").mkdir()
    os.symlink(imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "bin" / "ffmpeg")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    soundfile.write(tmp_path / "a.wav", samples(2, rate=44_100), 44_100)
    file = tmp_path / "a b'c.m4a"
    subprocess.run(["ffmpeg", "-v", "8", "-i", tmp_path / "a.wav", file], check=True)
    assert abs(len(read_any(str(file))) - 8000) < 1500  # AAC begins and ends with silence
    [piece] = hear(io.BytesIO(file.read_bytes()))
    np.testing.assert_array_equal(piece, read_any(str(file)))
    (tmp_path / "text.m4a").write_text("not audio")
    with pytest.raises(AudioError, match="neither libsndfile nor ffmpeg reads this"):
        read_any(str(tmp_path / "text.m4a"))


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AudioError, match="no such file"):
        read_any(str(tmp_path / "absent.wav"))
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(AudioError, match="text.wav: cannot read audio.*install ffmpeg"):
        read_any(str(tmp_path / "text.wav"))
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 1)), 16_000)
    with pytest.raises(AudioError, match="empty audio"):
        read_any(str(tmp_path / "empty.wav"))
