"""Additive noise, music, babble and room reverberation on crops, reproducible from the caller's generator."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from svtk.data import distort, speed
from svtk.data.audio import read_audio, repeat_to
from svtk.data.cuts import load_utterances
from svtk.data.ffmpeg_codecs import require_ffmpeg
from svtk.errors import DataError

__all__ = ["Augmenter", "Config"]

_RIRS = 1000  # impulse responses kept in memory by each data loading process: about 64 MB of RIRS_NOISES


@dataclasses.dataclass(frozen=True)
class Config:
    """Options; signal-to-noise ratios in dB, drawn uniformly, are those of Kaldi's VoxCeleb recipe.

    ``prob`` is the chance that a crop is augmented at all; the kind is then drawn evenly from what the
    noise directory holds (noise, music, babble from speech, reverberation). What ``distort`` does comes after that,
    and needs no noise directory. Before all that, the crop is taken at a ``speed``, at which the teacher hears it, too.
    """

    prob: float = 0.6
    noise_snr: tuple[float, ...] = (0.0, 15.0)
    music_snr: tuple[float, ...] = (5.0, 15.0)
    babble_snr: tuple[float, ...] = (13.0, 20.0)
    babble_voices: tuple[int, ...] = (3, 7)
    distort: distort.Config = dataclasses.field(default_factory=distort.Config)
    speed: speed.Config = dataclasses.field(default_factory=speed.Config)

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError("prob must lie in [0, 1]")
        for name in ("noise_snr", "music_snr", "babble_snr", "babble_voices"):
            span = getattr(self, name)
            if len(span) != 2 or span[0] > span[1]:
                raise ValueError(f"{name} must be [low, high]")
        if self.babble_voices[0] < 1:
            raise ValueError("babble_voices: at least one voice")


class Augmenter:
    """Augment wavs from the output of ``svtk prepare-noise``, and distort them.

    Args:
        directory: holds some of ``noise/``, ``music/``, ``speech/``, ``rirs/``, each a data directory; None: only
            distort.
        config: probabilities and levels.

    Raises:
        DataError: the directory holds none of the four.
        ConfigError: a codec that ffmpeg should have, and does not.
    """

    def __init__(self, directory: str | os.PathLike | None, config: Config):
        self.config = config
        if config.distort.prob and "codec" in config.distort.kinds:
            require_ffmpeg(config.distort.codecs)
        self._sources = {}
        for kind in ("noise", "music", "speech", "rirs") if directory is not None else ():
            if (Path(directory) / kind / "wav.scp").exists():
                self._sources[kind] = load_utterances(Path(directory) / kind)
        if directory is not None and not self._sources:
            raise DataError(
                "no noise here",
                path=directory,
                expected="noise/, music/, speech/ or rirs/",
                mend="run svtk prepare-noise",
            )
        self._kinds = sorted(self._sources)
        self._rirs: dict[int, np.ndarray] = {}

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """float32 (N,) to an augmented float32 (N,); the direct sound stays where it was.

        *wav* itself is returned where nothing was drawn.
        """
        return distort.distort(self._add(wav, rng), self.config.distort, rng)

    def _add(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self._kinds or rng.random() >= self.config.prob:
            return wav
        kind = self._kinds[rng.integers(len(self._kinds))]
        if kind == "rirs":
            return self._reverberate(wav, rng)
        if kind == "speech":
            low, high = self.config.babble_voices
            noise = sum(self._piece(kind, len(wav), rng) for _ in range(rng.integers(low, high + 1)))
            snr = rng.uniform(*self.config.babble_snr)
        else:
            noise = self._piece(kind, len(wav), rng)
            snr = rng.uniform(*(self.config.noise_snr if kind == "noise" else self.config.music_snr))
        return add_at_snr(wav, noise, snr)

    def _piece(self, kind: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A random stretch of a random recording, repeated when it is too short."""
        source = self._sources[kind][rng.integers(len(self._sources[kind]))]
        room = source.num_samples - num_samples
        offset = int(rng.integers(room + 1)) if room > 0 else 0
        piece = read_audio(source.wav, source.start + offset, min(num_samples, source.num_samples), source.utt)
        return repeat_to(piece, num_samples)

    def _reverberate(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        index = int(rng.integers(len(self._sources["rirs"])))
        if index not in self._rirs:
            source = self._sources["rirs"][index]
            rir = read_audio(source.wav, source.start, source.num_samples, source.utt)
            if len(self._rirs) == _RIRS:
                del self._rirs[next(iter(self._rirs))]
            self._rirs[index] = rir[np.abs(rir).argmax() :]  # from the direct sound on
        wet = fftconvolve(wav, self._rirs[index])[: len(wav)]
        power, wet_power = float(np.mean(wav**2)), float(np.mean(wet**2))
        return (wet * np.sqrt(power / max(wet_power, 1e-12))).astype(np.float32)


def add_at_snr(wav: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """wav + noise (both (N,)), the noise scaled to *snr* dB below the wav's mean power."""
    power, noise_power = float(np.mean(wav**2)), float(np.mean(noise**2))
    gain = np.sqrt(power / max(noise_power, 1e-12) * 10 ** (-snr / 10))
    return (wav + gain * noise).astype(np.float32)
