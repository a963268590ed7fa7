"""Archives of WAV files, as wav-copy writes them: whole entries, damage, and what reads them."""

from __future__ import annotations

import io
import re

import kaldi_native_io
import numpy as np
import pytest
import soundfile

from svtk.data.audio import read_audio
from svtk.data.wav_archive import read_wav_archive
from svtk.errors import AudioError, DataError

AUDIO = {utt: np.linspace(-0.5, 0.5, num, dtype=np.float32) for utt, num in (("a", 1000), ("b", 333), ("c", 16_000))}


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "wav.ark"
    path.write_bytes(b"".join(utt.encode() + b" " + wav(samples) for utt, samples in AUDIO.items()))
    return path


@pytest.mark.parametrize("form", ["{}", "cat {} |", "-"])
def test_entries(archive, monkeypatch, form):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(archive.read_bytes())))
    found = {utt: read_audio(entry, utt=utt) for utt, entry in read_wav_archive(form.format(archive))}
    assert list(found) == list(AUDIO)
    for utt, samples in AUDIO.items():
        np.testing.assert_array_equal(found[utt], samples)


def test_kaldis_own_writer(tmp_path):
    samples = np.arange(-300, 300, dtype=np.float32)  # Kaldi holds samples of 16 bits as floats
    with kaldi_native_io.WaveWriter(f"ark:{tmp_path}/w.ark") as writer:
        for utt in ("x", "y"):
            writer.write(utt, kaldi_native_io.WaveData(16_000, samples[None]))
    found = {utt: read_audio(entry) for utt, entry in read_wav_archive(f"{tmp_path}/w.ark")}
    assert list(found) == ["x", "y"]
    np.testing.assert_array_equal(found["y"], samples / 32768)


def test_nothing_is_read_ahead(archive):
    data = archive.read_bytes()
    archive.write_bytes(data[:-1])
    entries = read_wav_archive(str(archive))
    assert [next(entries)[0], next(entries)[0]] == ["a", "b"]
    with pytest.raises(DataError, match=r"wav\.ark: damaged archive at key 'c', offset \d+: the file ends 1 byte"):
        next(entries)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a " + wav(AUDIO["a"]) + b"a " + wav(AUDIO["a"]), "key 'a' stands twice"),
        (b"a [ 1 2 ]\n", "entry 'a' at offset 2 is no such audio; found b'[ 1 '; expected a WAV file of known length"),
        (b"a RIFF\xff\xff\xff\xffWAVE", "entry 'a' at offset 2 is no such audio; found b'RIFF'"),
        (b"a RIFF\0\0\0\0WAVE", "entry 'a' at offset 2 is no such audio; found b'RIFF'"),
        (b"a RI", "damaged archive at key 'a', offset 2: the file ends"),
    ],
)
def test_what_is_no_archive_of_audio(tmp_path, data, message):
    (tmp_path / "w.ark").write_bytes(data)
    with pytest.raises(DataError, match=re.escape(message)):
        list(read_wav_archive(f"{tmp_path}/w.ark"))


def test_a_failing_pipe(archive):
    with pytest.raises(DataError, match="exit status 3"):
        list(read_wav_archive(f"cat {archive}; exit 3 |"))


def test_audio_of_another_rate_names_archive_and_utterance(tmp_path):
    (tmp_path / "w.ark").write_bytes(b"a " + wav(AUDIO["a"], 8000))
    [(utt, entry)] = read_wav_archive(f"{tmp_path}/w.ark")
    with pytest.raises(
        AudioError, match=r"w\.ark: wrong audio format of 'a'; found 8000 Hz.*before it is archived: sox -R FILE"
    ):
        read_audio(entry, utt=utt)
