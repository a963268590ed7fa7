"""Speech and silence by log-energy: frame energies as Kaldi takes them, and how likely each class made them.

Energies are those that compute-mfcc-feats (feature-window.cc) puts into its first column by ``--use-energy``, without
dither. The default detector fits two Gaussians to each utterance's own energies; :func:`kaldi_decision` is what
compute-vad (voice-activity-detection.cc) decides from them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from svtk.data import SAMPLE_RATE

__all__ = ["FRAME_SHIFT", "EnergyOptions", "TwoGaussians", "VadOptions", "kaldi_decision", "log_energy", "num_frames"]

#: samples from one frame to the next
FRAME_SHIFT = SAMPLE_RATE // 100

_PREEMPHASIS = 0.97
_EPSILON = np.finfo(np.float32).eps  # Kaldi's floor of an energy, on the scale of 16-bit samples
_FULL_SCALE = 32768.0
_BLOCK = 8192  # frames at a time


@dataclasses.dataclass(frozen=True)
class EnergyOptions:
    """Kaldi's options of a frame's energy, by its names and with its defaults, but for ``snip_edges``.

    Attributes:
        frame_length: in milliseconds; frames are 10 ms apart.
        snip_edges: frames lie wholly in the audio; else there is one for every shift, the edges being mirrored, as
            Kaldi's speaker recipes have it.
        raw_energy: before pre-emphasis and window.
        energy_floor: of the energy of a frame; 0: none.
    """

    frame_length: float = 25.0
    snip_edges: bool = False
    raw_energy: bool = True
    energy_floor: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.frame_length <= 1000 and self.energy_floor >= 0):
            raise ValueError("expected frame_length in milliseconds, from 1 to 1000, and energy_floor of 0 or more")

    @property
    def length(self) -> int:
        """Samples of a frame."""
        return int(SAMPLE_RATE * 0.001 * self.frame_length)


def num_frames(num_samples: int, options: EnergyOptions) -> int:
    """How many frames Kaldi makes of so many samples."""
    if not options.snip_edges:
        return (num_samples + FRAME_SHIFT // 2) // FRAME_SHIFT
    return 0 if num_samples < options.length else 1 + (num_samples - options.length) // FRAME_SHIFT


def log_energy(wav: np.ndarray, options: EnergyOptions) -> np.ndarray:
    """wav (N,) in [-1, 1] → float32 (T,): natural logarithm of each frame's sum of squares of 16-bit samples."""
    count = num_frames(len(wav), options)
    if count == 0:
        return np.zeros(0, np.float32)
    scaled = wav.astype(np.float32) * np.float32(_FULL_SCALE)
    starts = np.arange(count) * FRAME_SHIFT
    blocks = (starts[begin : begin + _BLOCK] for begin in range(0, count, _BLOCK))
    energies = np.log(np.maximum(np.concatenate([_energies(scaled, block, options) for block in blocks]), _EPSILON))
    if options.energy_floor > 0:
        energies = np.maximum(energies, np.log(options.energy_floor))
    return energies.astype(np.float32)


def _energies(scaled: np.ndarray, starts: np.ndarray, options: EnergyOptions) -> np.ndarray:
    """Samples (N,) on the scale of 16 bits → the energies of the frames that begin at *starts* (T,), float64 (T,)."""
    index = starts[:, None] + np.arange(options.length)
    if not options.snip_edges:
        index += FRAME_SHIFT // 2 - options.length // 2  # a frame's middle is that of its shift
        index %= 2 * len(scaled)  # mirrored as often as it takes: ... 1 0 0 1 ... N-1 N-1 N-2 ...
        index = np.minimum(index, 2 * len(scaled) - 1 - index)
    frames = scaled[index]  # (T, length)
    frames -= frames.mean(axis=1, keepdims=True)
    if not options.raw_energy:
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = (frames - _PREEMPHASIS * before) * _povey(options.length)
    return np.einsum("tn,tn->t", frames, frames, dtype=np.float64)


def _povey(length: int) -> np.ndarray:
    """Kaldi's default window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) ** 0.85


@dataclasses.dataclass(frozen=True)
class VadOptions:
    """compute-vad's options, by its names and with its defaults: what ``conf/vad.conf`` holds.

    A frame is energetic above ``energy_threshold`` + ``energy_mean_scale`` × the utterance's mean log-energy, and
    speech where ``proportion_threshold`` of those within ``frames_context`` to each side are.
    """

    energy_threshold: float = 5.0
    energy_mean_scale: float = 0.5
    proportion_threshold: float = 0.6
    frames_context: int = 0

    def __post_init__(self) -> None:
        if self.energy_mean_scale < 0 or self.frames_context < 0 or not 0 < self.proportion_threshold < 1:
            raise ValueError("expected energy_mean_scale and frames_context of 0 or more, 0 < proportion_threshold < 1")


def kaldi_decision(energies: np.ndarray, options: VadOptions) -> np.ndarray:
    """Log-energies (T,) → float32 (T,) of 1 for speech and 0 for silence, as compute-vad decides.

    All in float32 as there, but for the sum of the energies, whose order of summation Kaldi leaves to its BLAS: it is
    summed in double precision here.
    """
    energies = np.asarray(energies, np.float32)
    count = len(energies)
    if count == 0:
        return np.zeros(0, np.float32)
    threshold = np.float32(options.energy_threshold)
    if options.energy_mean_scale != 0:
        total = np.float32(energies.sum(dtype=np.float64))
        threshold += np.float32(options.energy_mean_scale) * total / np.float32(count)
    above = np.concatenate([[0], np.cumsum(energies > threshold)])
    low = np.maximum(np.arange(count) - options.frames_context, 0)
    high = np.minimum(np.arange(count) + options.frames_context + 1, count)
    wanted = (high - low).astype(np.float32) * np.float32(options.proportion_threshold)
    return (above[high] - above[low] >= wanted).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class TwoGaussians:
    """Silence and speech of one utterance as two Gaussians of one variance over its log-energies, fitted by EM.

    With one variance the louder frame is always the likelier speech. Levels are in dB relative to a full-scale square
    wave (16-bit), and hold for energies of frames of ``frame_length``.

    Attributes:
        floor: quieter frames count as this level, which digital silence has.
        least_level: utterances that are nowhere louder are silence.
        least_distance: where the means come closer than this, there is one class only: speech, or silence below
            *least_level*.
        least_deviation: of both Gaussians.
        num_iterations: of EM.
        scale: of log-likelihoods, for frames overlap and speak for each other.
    """

    floor: float = -85.0
    least_level: float = -60.0
    least_distance: float = 12.0
    least_deviation: float = 4.0
    num_iterations: int = 20
    scale: float = 0.3

    def __call__(self, energies: np.ndarray, frame_length: int) -> np.ndarray:
        """Log-energies (T,) of frames of *frame_length* samples → log-likelihoods float32 (T, 2): silence, speech."""
        if len(energies) == 0:
            return np.zeros((0, 2), np.float32)
        decibels = 10 / np.log(10) * (np.asarray(energies, np.float64) - np.log(frame_length * _FULL_SCALE**2))
        levels = np.clip(decibels, self.floor, 0.0)
        ratio = self._log_ratio(levels)
        return np.stack([np.zeros_like(ratio), ratio], axis=1).astype(np.float32)

    def _log_ratio(self, levels: np.ndarray) -> np.ndarray:
        """log p(speech) - log p(silence) by frame."""
        low, high = np.percentile(levels, [5, 95])
        weight = 0.5
        deviation = max((high - low) / 4, self.least_deviation)
        for _ in range(self.num_iterations):
            is_speech = 1 / (1 + np.exp(np.clip(-_log_odds(levels, low, high, deviation, weight), -500, 500)))
            weight = float(np.clip(is_speech.mean(), 0.05, 0.95))
            if is_speech.sum() > 0:
                high = np.average(levels, weights=is_speech)
            if (1 - is_speech).sum() > 0:
                low = np.average(levels, weights=1 - is_speech)
            spread = is_speech * (levels - high) ** 2 + (1 - is_speech) * (levels - low) ** 2
            deviation = max(np.sqrt(spread.mean()), self.least_deviation)
        if high - low < self.least_distance or high < self.least_level:
            is_silence = np.percentile(levels, 95) < self.least_level
            return np.full(len(levels), -1.0 if is_silence else 1.0)
        return self.scale * _log_odds(levels, low, high, deviation, 0.5)


def _log_odds(levels: np.ndarray, low: float, high: float, deviation: float, weight: float) -> np.ndarray:
    """Of two Gaussians of one deviation, the one about *high* having the given weight."""
    return (high - low) / deviation**2 * (levels - (low + high) / 2) + np.log(weight / (1 - weight))
