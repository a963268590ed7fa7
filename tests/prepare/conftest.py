"""Audio made for the tests, the verb as a user runs it, and an ffmpeg."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile


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
