"""Codecs that ffmpeg has and libsndfile has not, on crops: telephone's, and that of most video."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from svtk.errors import AudioError, ConfigError

__all__ = ["FFMPEG_CODECS", "require_ffmpeg", "through_ffmpeg"]


class _Codec(NamedTuple):
    """An encoder of ffmpeg, its options, its sampling rate, and by how many samples what is decoded comes late."""

    encoder: str
    options: tuple[str, ...]
    rate: int
    delay: int


#: by the names that a configuration gives them
FFMPEG_CODECS = {
    "aac": _Codec("aac", ("-b:a", "32k"), 16_000, 1024),
    "g722": _Codec("g722", (), 16_000, 22),
    "g723": _Codec("g723_1", ("-b:a", "6.3k"), 8000, 60),
    "amr_nb": _Codec("libopencore_amrnb", ("-b:a", "12.2k"), 8000, 39),
}


@lru_cache(maxsize=1)
def _encoders(ffmpeg: str) -> set[str]:
    listed = subprocess.run([ffmpeg, "-v", "8", "-encoders"], capture_output=True, text=True, check=False).stdout
    return {line.split()[1] for line in listed.splitlines() if len(line.split()) > 1}


def require_ffmpeg(codecs: Sequence[str]) -> None:
    """See that ffmpeg is here, and has those of *codecs* that are its own.

    Raises:
        ConfigError: it is not on PATH, or lacks one.
    """
    wanted = [codec for codec in codecs if codec in FFMPEG_CODECS]
    if not wanted:
        return
    mend = "leave it out of augment.distort.codecs, or install"
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise ConfigError(f"codec {wanted[0]!r} needs ffmpeg", found="none on PATH", mend=f"{mend} ffmpeg")
    for codec in wanted:
        if FFMPEG_CODECS[codec].encoder not in _encoders(ffmpeg):
            encoder = FFMPEG_CODECS[codec].encoder
            raise ConfigError(
                f"codec {codec!r} needs ffmpeg's {encoder}", path=ffmpeg, mend=f"{mend} an ffmpeg that has it"
            )


def through_ffmpeg(wav: np.ndarray, codec: str) -> np.ndarray:
    """float32 (N,) in [-1, 1], at the rate of one of :data:`FFMPEG_CODECS`, encoded and decoded: (N,), in its place.

    Raises:
        AudioError: ffmpeg fails.
    """
    encoder, options, rate, delay = FFMPEG_CODECS[codec]
    samples = ["-f", "f32le", "-ar", str(rate), "-ac", "1"]
    padded = np.pad(wav, (0, delay)).astype("<f4")
    encoded = _run([*samples, "-i", "-", "-c:a", encoder, *options, "-f", "nut", "-"], padded.tobytes(), codec)
    decoded = np.frombuffer(_run(["-f", "nut", "-i", "-", *samples, "-"], encoded, codec), "<f4")
    decoded = decoded[delay : delay + len(wav)]
    return np.pad(decoded, (0, len(wav) - len(decoded)))


def _run(options: list[str], data: bytes, codec: str) -> bytes:
    try:
        done = subprocess.run(["ffmpeg", "-v", "8", "-threads", "1", *options], input=data, capture_output=True)
    except OSError as error:
        raise AudioError(f"codec {codec!r}: cannot run ffmpeg", found=error.strerror) from error
    if done.returncode or not done.stdout:
        raise AudioError(f"codec {codec!r}: ffmpeg failed", found=done.stderr.decode(errors="replace").strip()[-200:])
    return done.stdout
