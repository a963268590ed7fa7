"""Speed perturbation: utterances slower or faster, tempo and pitch together, as sox's ``speed`` (Ko et al., 2015)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from svtk.data import SAMPLE_RATE
from svtk.data.resample import resample

__all__ = ["Config", "num_perturbed", "read_perturbed"]

_MARGIN = 200  # samples; more than half the resampler's kernel at every speed that is allowed


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        factors: each crop is heard at the utterance's own speed or at one of these, drawn evenly; 0.9 and 1.1 are
            those of Kaldi's recipes. Student and teacher hear the same.
        new_speakers: utterances at another speed are other speakers', ``SPK-sp0.9``, as after Kaldi's
            utils/data/perturb_data_dir_speed.sh: the classifier grows by so many times.
    """

    factors: tuple[float, ...] = ()
    new_speakers: bool = False

    def __post_init__(self) -> None:
        for factor in self.factors:
            if not 0.5 <= factor <= 2 or factor == 1 or round(100 * factor) != round(100 * factor, 6):
                raise ValueError("factors must lie in [0.5, 2], in steps of 0.01, and not be 1")
        if len(set(self.factors)) < len(self.factors):
            raise ValueError("factors must be different ones")


def _ratio(factor: float) -> Fraction:
    """Samples that come out for each that goes in."""
    return 1 / Fraction(round(100 * factor), 100)


def num_perturbed(num_samples: int, factor: float) -> int:
    """The number of samples of an utterance at another speed."""
    return -int(-num_samples * _ratio(factor) // 1)


def read_perturbed(
    read: Callable[[int, int], np.ndarray], num_samples: int, factor: float, start: int, size: int
) -> np.ndarray:
    """A part of an utterance at another speed: what a cut out of the whole, resampled, would be.

    Args:
        read: gives so many samples of the utterance, from the one on, float32 (N,).
        num_samples: of the utterance.
        factor: above 1: faster.
        start, size: of the part, in samples of the utterance at that speed.

    Returns:
        float32 (size,).
    """
    ratio = _ratio(factor)
    up, down = ratio.numerator, ratio.denominator
    margin = -(-_MARGIN // down)
    first = max(0, start // up - margin)  # a multiple of `down` samples in is one of `up` out
    end = min(num_samples, (-(-(start + size) // up) + margin) * down)
    samples = resample(read(first * down, end - first * down), round(SAMPLE_RATE * factor))
    return samples[start - first * up :][:size]
