"""Read 16 kHz mono audio from a file or a pipe, whole or in part."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from svtk.data import SAMPLE_RATE
from svtk.errors import AudioError
from svtk.kaldi.tables import open_rxfilename

__all__ = ["read_audio", "repeat_to"]


def read_audio(wav: str, start: int = 0, num_samples: int | None = None) -> np.ndarray:
    """Read samples from a path or a Kaldi pipe (``command |``).

    Args:
        wav: path or pipe.
        start: first sample.
        num_samples: how many samples; None reads to the end.

    Returns:
        float32 (N,) in [-1, 1].

    Raises:
        AudioError: unreadable or empty audio, or not 16 kHz mono.
    """
    stop = None if num_samples is None else start + num_samples
    try:
        if wav.endswith("|"):
            with open_rxfilename(wav) as pipe:
                data = pipe.read()
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", start=start, stop=stop)
        else:
            samples, rate = soundfile.read(wav, dtype="float32", start=start, stop=stop)
    except (OSError, RuntimeError, TypeError) as error:
        raise AudioError("cannot read audio", path=wav, found=str(error), mend="check or remove the file") from error
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError(
            "wrong audio format",
            path=wav,
            found=f"{rate} Hz, {'mono' if samples.ndim == 1 else f'{samples.shape[1]} channels'}",
            expected="16000 Hz mono",
        )
    if samples.size == 0:
        raise AudioError("empty audio", path=wav, mend="remove the utterance")
    return samples


def repeat_to(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """Repeat (N,) samples until there are at least *num_samples*, cut at exactly that; longer input is unchanged."""
    if len(samples) >= num_samples:
        return samples
    return np.resize(samples, num_samples)
