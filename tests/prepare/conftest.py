"""Audio and data directories made for the tests, the verb as a user runs it, and an ffmpeg."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_dirs import SPKS, save
from svtk.kaldi.datadir import Utterance, write_data_dir


@pytest.fixture(scope="session")
def tone():
    """Write a tone; every channel is ``1 / (1 + channel)`` as loud as the first."""

    def write(path, seconds=1.0, rate=16000, channels=1, frequency=440.0, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        wave = 0.5 * np.sin(2 * np.pi * frequency * time)
        samples = np.stack([wave / (1 + channel) for channel in range(channels)], axis=1)
        soundfile.write(path, samples, rate, **options)
        return path

    return write


@pytest.fixture(scope="session")
def verb():
    """Run ``svtk VERB ARG...`` in its own process."""

    def run(*args, **environment):
        return subprocess.run(
            [sys.executable, "-m", "svtk", *map(str, args)],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture(scope="session")
def ffmpeg_bin(tmp_path_factory):
    """A folder that holds an executable ``ffmpeg``."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    folder = tmp_path_factory.mktemp("bin")
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    return folder


@pytest.fixture
def ffmpeg(ffmpeg_bin, monkeypatch):
    """ffmpeg on PATH."""
    monkeypatch.setenv("PATH", str(ffmpeg_bin), prepend=os.pathsep)


@pytest.fixture
def no_ffmpeg(tmp_path, monkeypatch):
    """A PATH without ffmpeg."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def m4a(tone, ffmpeg, tmp_path):
    """Write AAC in an m4a: 44.1 kHz stereo, the second channel a softer tone."""

    def write(path: Path, seconds=1.0, frequency=440.0):
        wav = tone(tmp_path / "to_encode.wav", seconds, rate=44100, channels=2, frequency=frequency)
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ffmpeg", "-nostdin", "-v", "8", "-y", "-i", wav, path], check=True)
        wav.unlink()
        return path

    return write


@pytest.fixture
def whole(tmp_path):
    """Six whole recordings of three speakers, and every file that Kaldi knows."""
    tmp_path = tmp_path / "whole"
    tmp_path.mkdir()
    utterances = []
    for number, utt in enumerate(f"{spk}-{i}" for spk in SPKS for i in (1, 2)):
        wav, num_samples = tmp_path / f"{utt}.wav", 1600 * (number + 2)
        soundfile.write(wav, np.full(num_samples, 0.1), 16_000)
        spk = utt[:3]
        utterances.append(Utterance(utt, spk, str(wav), utt, duration=num_samples / 16_000, gender="f"))
    data = write_data_dir(tmp_path / "data", utterances).path
    utts = [u.utt for u in utterances]
    per_utt = {"text": "HELLO", "feats.scp": "f.ark:5", "vad.scp": "v.ark:5", "utt2lang": "en", "utt2uniq": "x"}
    per_utt |= {"utt2warp": "1.1", "utt2num_frames": "20"}
    for name, value in per_utt.items():
        save(data / name, "".join(f"{utt} {value}\n" for utt in utts))
    save(data / "reco2dur", (data / "utt2dur").read_text())
    save(data / "reco2file_and_channel", "".join(f"{utt} {utt} A\n" for utt in utts))
    for name, value in {"cmvn.scp": "c.ark:5", "spk2warp": "0.9"}.items():
        save(data / name, "".join(f"{spk} {value}\n" for spk in SPKS))
    return data


@pytest.fixture
def parts(tmp_path):
    """Two recordings, one of them a pipe, and three segments of each."""
    tmp_path = tmp_path / "parts"
    tmp_path.mkdir()
    utterances = []
    for spk, seconds in (("ann", 2.0), ("bob", 3.0)):
        wav = tmp_path / f"{spk}.wav"
        soundfile.write(wav, np.full(round(16_000 * seconds), 0.1), 16_000)
        source = f"cat {shlex.quote(str(wav))} |" if spk == "bob" else str(wav)
        spans = ((0.0, 0.5), (0.5, 1.25), (1.25, None))
        utterances += [
            Utterance(f"{spk}-{i}", spk, source, f"rec-{spk}", start, end, (end or seconds) - start, "m")
            for i, (start, end) in enumerate(spans)
        ]
    data = write_data_dir(tmp_path / "data", utterances).path
    save(data / "reco2dur", "rec-ann 2.0\nrec-bob 3.0\n")
    return data


@pytest.fixture
def with_manifest(parts):
    from svtk.data.cuts import write_cuts

    write_cuts(parts)
    return parts
