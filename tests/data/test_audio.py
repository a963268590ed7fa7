from __future__ import annotations

import io
import shlex
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from svtk.data.audio import count_samples, read_audio, repeat_to
from svtk.errors import AudioError
from svtk.prepare.check_audio import Measured, measure


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


def test_flac_of_unknown_length(tmp_path):
    """As ``ffmpeg -f flac -`` gives it: its STREAMINFO was written before the length was known."""
    samples = np.arange(-1500, 1500, dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0  # total samples: 36 bits
    data[22:42] = bytes(20)  # and the MD5 of the samples
    (tmp_path / "a.flac").write_bytes(data)
    for wav in (f"{tmp_path}/a.flac", f"cat {tmp_path}/a.flac |"):
        assert count_samples(wav) == 3000
        assert values(read_audio(wav)) == samples.tolist()
        assert values(read_audio(wav, 1000, 20)) == samples[1000:1020].tolist()
        assert measure(wav) == Measured(3000)


@pytest.mark.parametrize("sizes", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (None, 0)])
def test_wav_stream_of_unknown_length(tmp_path, sizes):
    """What Kaldi's wave-reader takes for a stream: its sizes are 0, all ones, or SoX's 0x7FFFF000."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.arange(500, dtype=np.int16), 16000, format="WAV", subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    for name, size in zip((b"RIFF", b"data"), sizes, strict=True):
        if size is not None:
            struct.pack_into("<I", data, data.index(name) + 4, size)
    (tmp_path / "a.wav").write_bytes(data)
    wav = f"cat {tmp_path}/a.wav |"
    assert count_samples(wav) == 500 and values(read_audio(wav)) == list(range(500)) and measure(wav) == Measured(500)


def test_the_pipe_that_mends_a_wrong_format_is_told(tmp_path):
    soundfile.write(tmp_path / "my phone.wav", np.zeros((100, 2)), 8000)
    for wav, mend in (
        (f"{tmp_path}/my phone.wav", rf"sox -R '{tmp_path}/my phone.wav' -r 16000 -t wav - remix 1 |"),
        (f"cat {tmp_path}/my*.wav |", rf"cat {tmp_path}/my*.wav | sox -R -t wav - -r 16000 -t wav - remix 1 |"),
    ):
        with pytest.raises(AudioError) as raised:
            read_audio(wav)
        assert raised.value.mend.endswith(f"in its place in wav.scp: {mend}")
        if shutil.which("sox"):
            assert count_samples(mend) == 200


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


@pytest.mark.parametrize("read", [read_audio, count_samples])
def test_a_failing_pipe_names_its_utterance_and_command(ramp, read):
    whole = f"cat {shlex.quote(str(ramp))}; exit 3 |"
    for pipe, message in (("exit 3 |", "exit status 3"), (whole, "exit status 3"), ("echo nonsense |", "not recog")):
        with pytest.raises(AudioError) as raised:
            read(pipe, utt="ann-1")
        assert f"{pipe}: cannot read audio of 'ann-1'" in str(raised.value) and message in str(raised.value)


def test_a_pipe_that_failed_is_tried_again(tmp_path, ramp):
    pipe = f"cat {tmp_path}/later.wav 2>/dev/null |"
    with pytest.raises(AudioError):
        read_audio(pipe)
    (tmp_path / "later.wav").write_bytes(ramp.read_bytes())
    assert count_samples(pipe) == 2000


def test_segments_of_a_piped_recording_run_its_command_once(tmp_path, ramp):
    def pipe(name):
        return f"echo >> {tmp_path}/{name}; cat {shlex.quote(str(ramp))} |"

    wanted = [(pipe(name), start, 100) for name in "abc" for start in range(0, 2000, 100)]
    with ThreadPoolExecutor(2) as pool:  # as embeddings are read
        parts = list(pool.map(lambda item: read_audio(*item), wanted))
    assert [values(part) for part in parts] == [list(range(s, s + 100)) for _, s, _ in wanted]
    assert [(tmp_path / name).read_text() for name in "abc"] == ["\n"] * 3


def test_no_pipes(ramp, monkeypatch, tmp_path):
    monkeypatch.setenv("SVTK_NO_PIPES", "1")
    with pytest.raises(AudioError, match=r"cannot read audio of 'u': input pipes are refused"):
        read_audio(f"touch {tmp_path}/ran; cat {shlex.quote(str(ramp))} |", utt="u")
    assert not (tmp_path / "ran").exists()
    assert count_samples(str(ramp)) == 2000


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_headers_of_streams_tell_no_length(ramp, tmp_path, size):
    """sox and ffmpeg cannot know the length when they begin to write to a pipe."""
    data = bytearray(ramp.read_bytes())
    assert data[36:40] == b"data"
    data[4:8], data[40:44] = struct.pack("<I", min(size + 36, 0xFFFFFFFF)), struct.pack("<I", size)
    (tmp_path / "stream.wav").write_bytes(data)
    assert values(read_audio(f"cat {tmp_path}/stream.wav |", 10)) == list(range(10, 2000))


def test_entries_of_wav_archives(tmp_path, ramp):
    """As Kaldi's wav-copy writes them: key, space, RIFF; wav.scp has the offset after the space."""
    archive, offsets = io.BytesIO(), []
    for name, samples in (("a", np.arange(300)), ("b", np.arange(300, 400))):
        archive.write(name.encode() + b" ")
        offsets.append(archive.tell())
        wav = io.BytesIO()
        soundfile.write(wav, samples.astype(np.int16), 16000, format="WAV")
        archive.write(wav.getvalue())
    path = tmp_path / "wav.1.ark"
    path.write_bytes(archive.getvalue())
    first, second = (f"{path}:{offset}" for offset in offsets)
    assert values(read_audio(first)) == list(range(300)) and count_samples(second) == 100
    assert values(read_audio(second, 10, 20)) == list(range(310, 330))
    for wrong in (f"{path}:{offsets[0] + 1}", f"{path}:9999", f"{tmp_path}/none.ark:2"):
        with pytest.raises(AudioError, match=r"cannot read audio of 'u'"):
            read_audio(wrong, utt="u")


@pytest.mark.parametrize("program", ["sox", "ffmpeg"])
def test_real_converters(ramp, program):
    name = shlex.quote(str(ramp))
    pipe = {
        "sox": f"sox {name} -t wav -r 16000 -c 1 - |",
        "ffmpeg": f"ffmpeg -nostdin -v 8 -i {name} -ac 1 -ar 16000 -f wav - |",
    }[program]
    if subprocess.run(["which", program], capture_output=True).returncode:
        pytest.skip(f"{program} is not on PATH")
    assert values(read_audio(pipe)) == list(range(2000))


def test_a_python_one_liner_as_pipe():
    program = (
        "import sys, wave; w = wave.open(sys.stdout.buffer, 'wb'); w.setnchannels(1); w.setsampwidth(2); "
        "w.setframerate(16000); w.setnframes(800); w.writeframesraw(bytes(1600))"
    )
    assert count_samples(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} |") == 800


def test_a_part_beyond_the_end(ramp):
    assert values(read_audio(str(ramp), 1900, 500)) == list(range(1900, 2000))  # what there is
    with pytest.raises(AudioError, match="my audio.wav"):
        read_audio(str(ramp), 2500, 100)


def test_repeat_to():
    assert repeat_to(np.array([1.0, 2.0, 3.0]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert repeat_to(np.array([1.0, 2.0, 3.0]), 2).tolist() == [1, 2, 3]
