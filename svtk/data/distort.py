"""What channels do to speech: codecs, clipping, coloured noise; reproducible from the caller's generator."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import soundfile
from scipy.signal import resample_poly

from svtk.data import SAMPLE_RATE
from svtk.data.ffmpeg_codecs import FFMPEG_CODECS, through_ffmpeg

__all__ = ["CODECS", "Config", "distort"]

#: libsndfile's format and subtype, and the sampling rate at which a codec is used
CODECS = {
    "ulaw": ("WAV", "ULAW", 8000),
    "alaw": ("WAV", "ALAW", 8000),
    "gsm": ("WAV", "GSM610", 8000),
    "vorbis": ("OGG", "VORBIS", SAMPLE_RATE),
    "opus": ("OGG", "OPUS", SAMPLE_RATE),
    "mp3": ("MP3", "MPEG_LAYER_III", SAMPLE_RATE),
}
_KINDS = ("codec", "clip", "coloured_noise")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        prob: chance that a crop is distorted; the kind is then drawn evenly from *kinds*.
        kinds: some of ``codec``, ``clip`` and ``coloured_noise``.
        codecs: one of these is drawn: ``ulaw``, ``alaw``, ``gsm`` (telephone, 8 kHz), ``vorbis``, ``mp3``, ``opus``
            (not by default: libsndfile's encoder takes 0.1 s for a crop of 3 s); where ffmpeg has them, ``amr_nb``,
            ``g723`` (telephone, 8 kHz), ``g722``, ``aac`` (not by default: as slow).
        clipped: share of the samples that clipping reaches, drawn uniformly.
        snr: of coloured noise, in dB, drawn uniformly.
        slope: its power falls with frequency as f to the minus this: 0 white, 1 pink, 2 brown; drawn uniformly.
    """

    prob: float = 0.0
    kinds: tuple[str, ...] = _KINDS
    codecs: tuple[str, ...] = ("ulaw", "alaw", "gsm", "vorbis", "mp3")
    clipped: tuple[float, ...] = (0.001, 0.1)
    snr: tuple[float, ...] = (5.0, 20.0)
    slope: tuple[float, ...] = (0.0, 2.0)

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError("prob must lie in [0, 1]")
        for name, known in (("kinds", _KINDS), ("codecs", (*CODECS, *FFMPEG_CODECS))):
            given = getattr(self, name)
            if not given or set(given) - set(known):
                raise ValueError(f"{name} must be some of {', '.join(known)}")
        for name in ("clipped", "snr", "slope"):
            span = getattr(self, name)
            if len(span) != 2 or span[0] > span[1]:
                raise ValueError(f"{name} must be [low, high]")
        if not 0 <= self.clipped[0] <= self.clipped[1] < 1:
            raise ValueError("clipped must lie in [0, 1)")


def distort(wav: np.ndarray, config: Config, rng: np.random.Generator) -> np.ndarray:
    """float32 (N,) to one through a channel, float32 (N,), in the same place in time; *wav* itself if none was drawn.

    With ``prob`` 0 nothing is drawn from *rng*.
    """
    if not config.prob or rng.random() >= config.prob:
        return wav
    kind = config.kinds[rng.integers(len(config.kinds))]
    if kind == "codec":
        return through_codec(wav, config.codecs[rng.integers(len(config.codecs))])
    if kind == "clip":
        return clip(wav, rng.uniform(*config.clipped))
    noise = coloured_noise(len(wav), rng.uniform(*config.slope), rng)
    level = 10 ** (-rng.uniform(*config.snr) / 20) * np.sqrt(np.mean(np.square(wav, dtype=np.float64)))
    return (wav + level * noise).astype(np.float32)


def through_codec(wav: np.ndarray, codec: str) -> np.ndarray:
    """float32 (N,) encoded and decoded by one of :data:`CODECS` or ffmpeg's, at the codec's sampling rate."""
    rate = FFMPEG_CODECS[codec].rate if codec in FFMPEG_CODECS else CODECS[codec][2]
    down = SAMPLE_RATE // rate
    peak = max(1.0, float(np.abs(wav).max()))  # beyond 1 it would be clipped
    samples = resample_poly(wav / peak, 1, down)
    if codec in FFMPEG_CODECS:
        decoded = through_ffmpeg(samples, codec)
    else:
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=CODECS[codec][0], subtype=CODECS[codec][1])
        file.seek(0)
        decoded = soundfile.read(file, dtype="float32")[0]
    decoded = peak * resample_poly(decoded, down, 1)[: len(wav)]
    return np.pad(decoded, (0, len(wav) - len(decoded))).astype(np.float32)


def clip(wav: np.ndarray, share: float) -> np.ndarray:
    """float32 (N,) whose loudest *share* of the samples stand at one level."""
    level = np.quantile(np.abs(wav), 1 - share)
    return np.clip(wav, -level, level).astype(np.float32)


def coloured_noise(num_samples: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise (N,) of unit power whose power spectrum falls as f ** -slope above 20 Hz, and is flat below."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLE_RATE), 20.0)
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), num_samples)
    return noise / np.sqrt(np.mean(noise**2))
