"""Audio of any rate, depth and number of channels as what models hear: 16 kHz, one channel, float32."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from svtk.data import SAMPLE_RATE
from svtk.errors import AudioError

__all__ = ["Resampler", "resample", "to_mono"]

_CROSSINGS = 64  # zeros of the kernel on each side, at the lower of both rates
_CUTOFF, _BETA = 0.95, 10.0  # flat up to 0.9 of the lower band's edge, 100 dB down from that edge on
_MAX_RATE = 384_000


def to_mono(samples: Any) -> np.ndarray:
    """The mean of all channels, in [-1, 1].

    Args:
        samples: (N,), or (N, C) or (C, N), of which the shorter axis is that of the channels; floats as they are, whole
            numbers scaled by what their type holds. An array, or whatever NumPy makes one of (a CPU tensor).

    Returns:
        float32 (N,).

    Raises:
        AudioError: no samples, more than two axes, not numbers, or not finite.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "fiu":
        raise AudioError(
            "these are no samples", found=f"{array.dtype} of shape {array.shape}", expected="numbers (N,) or (N, C)"
        )
    if array.dtype.kind in "iu":
        full = (np.iinfo(array.dtype).max + 1) / (2 if array.dtype.kind == "u" else 1)
        array = array / full - (array.dtype.kind == "u")
    if array.ndim == 2:
        array = array.mean(axis=int(array.shape[0] >= array.shape[1]), dtype=np.float64)
    if not np.isfinite(array).all():
        raise AudioError("a sample is not finite", mend="look at what decoded or recorded it")
    return array.astype(np.float32)


class Resampler:
    """One channel of any rate to 16 kHz, as it arrives: the same samples whatever the pieces, and however many.

    A windowed sinc (Kaiser), symmetric, so that nothing is delayed; beyond both ends is silence. What comes out lags
    behind by half the kernel, 4 ms for usual rates.

    Args:
        rate: of the samples that come in, Hz.

    Raises:
        AudioError: the rate is not a positive whole number, or above 384 kHz.

    >>> resampler = Resampler(8000)
    >>> len(resampler.push(np.zeros(1000))), len(resampler.finish())
    (1872, 128)
    """

    def __init__(self, rate: int):
        if isinstance(rate, bool) or rate != int(rate) or not 0 < rate <= _MAX_RATE:
            raise AudioError("not a sampling rate", found=repr(rate), expected=f"whole Hz, 1 to {_MAX_RATE}")
        common = math.gcd(int(rate), SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, int(rate) // common
        half = _CROSSINGS * max(self._up, self._down)
        self._steps = 0 if self._is_same else -(-half // (self._up * self._down))  # of `down` samples on either side
        self._buffer = np.zeros(self._steps * self._down)
        self._taken = self._given = 0

    @property
    def _is_same(self) -> bool:
        return self._up == self._down

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples (N,); returns float32 those of the output that no later sample can change."""
        self._taken += len(samples)
        self._buffer = np.concatenate([self._buffer, samples])
        return self._give()

    def finish(self) -> np.ndarray:
        """The rest, so that N samples have become ceil(N * 16000 / rate)."""
        left = -(-self._taken * self._up // self._down) - self._given
        pad = self._steps * self._down + -len(self._buffer) % self._down
        self._buffer = np.concatenate([self._buffer, np.zeros(pad)])
        return self._give()[:left]

    def _give(self) -> np.ndarray:
        ready = len(self._buffer) // self._down - 2 * self._steps
        if ready <= 0:
            return np.zeros(0, np.float32)
        if self._is_same:
            out, self._buffer = self._buffer.astype(np.float32), self._buffer[:0]
        else:
            firsts, kernels = _kernels(self._up, self._down)
            windows = np.lib.stride_tricks.sliding_window_view(np.append(self._buffer, 0), kernels.shape[1])
            out = np.empty((ready, self._up), np.float32)
            for phase, (first, kernel) in enumerate(zip(firsts, kernels, strict=True)):
                start = self._steps * self._down + first
                rows = windows[start : start + ready * self._down : self._down]
                out[:, phase] = np.einsum("gk,k->g", rows, kernel)  # not by BLAS, which sums by the number of rows
            out = out.reshape(-1)
            self._buffer = self._buffer[ready * self._down :]
        self._given += len(out)
        return out


@lru_cache(maxsize=4)
def _kernels(up: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """What makes the outputs 0 to *up* - 1: each one's first input (before 0: in the past), and its weights (up, K)."""
    wider = max(up, down)
    half = _CROSSINGS * wider
    sinc = np.sinc(_CUTOFF / wider * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, _BETA)
    sinc *= up / sinc.sum()
    middle = np.arange(up) * down  # of each output, at `up` times the incoming rate
    firsts = -((half - middle) // up)
    places = middle[:, None] + half - up * (firsts[:, None] + np.arange(2 * half // up + 1))
    return firsts, np.where((places >= 0) & (places <= 2 * half), sinc[np.clip(places, 0, 2 * half)], 0)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """One channel (N,) at *rate* Hz to float32 at 16 kHz, ceil(N * 16000 / rate) samples.

    Raises:
        AudioError: as :class:`Resampler`.
    """
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(samples), resampler.finish()])
