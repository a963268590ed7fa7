"""Frame decisions of speech as spans of frames and samples, and those of a data directory's vad.scp."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from svtk.data.speech_activity import FRAME_SHIFT
from svtk.errors import DataError
from svtk.fingerprint import sha256_of_named
from svtk.kaldi.tables import ScpReader, read_table

__all__ = ["VAD_SCP", "decision_of", "read_speech", "speech_frames", "speech_identity", "speech_samples"]

log = logging.getLogger(__name__)

#: Kaldi's name, in a data directory, of the table of decisions
VAD_SCP = "vad.scp"
_TOLERANCE = 5  # frames by which decisions and audio may differ: Kaldi's may end before the audio does


def speech_frames(decision: np.ndarray) -> list[tuple[int, int]]:
    """Decisions (T,), speech being other than 0 → ``(first frame, frame behind the last)`` of each run of speech.

    >>> speech_frames(np.array([0, 1, 1, 0, 1]))
    [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(decision) != 0, [0]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def speech_samples(decision: np.ndarray, num_samples: int) -> list[tuple[int, int]]:
    """The speech among *num_samples* samples: ``(first sample, number of samples)`` of each run.

    What follows the last frame belongs to it.
    """
    parts = []
    for start, end in speech_frames(decision):
        stop = num_samples if end == len(decision) else min(end * FRAME_SHIFT, num_samples)
        if stop > start * FRAME_SHIFT:
            parts.append((start * FRAME_SHIFT, stop - start * FRAME_SHIFT))
    return parts


def speech_identity(data_dir: str | os.PathLike) -> dict[str, str]:
    """Path and SHA-256 of the decisions of a data directory's ``vad.scp``, wherever they lie.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = _vad_of(data_dir)
    decisions = ((utt, np.asarray(row, np.float32).tobytes()) for utt, row in read_table(f"scp:{path}"))
    return {"path": str(path), "sha256": sha256_of_named(decisions)}


def _vad_of(data_dir: str | os.PathLike) -> Path:
    path = Path(data_dir) / VAD_SCP
    if not path.exists():
        mend = "make it with svtk detect-speech, or do without --vad"
        raise DataError("no speech activity here", path=path, mend=mend)
    return path


def decision_of(utt: str, table: Mapping[str, np.ndarray], num_samples: int, path: str | os.PathLike) -> np.ndarray:
    """The decision (frames of 10 ms) of an utterance; none for one so short that detectors leave it out.

    Raises:
        DataError: the table lacks the utterance, or has other than about one number for each 10 ms of it.
    """
    frames = num_samples / FRAME_SHIFT
    if utt not in table and frames > _TOLERANCE:
        raise DataError(f"{utt!r} is missing", path=path, mend="run svtk detect-speech again on this directory")
    decision = table[utt] if utt in table else np.zeros(0)
    if decision.ndim != 1 or abs(len(decision) - frames) > _TOLERANCE:
        found, expected = f"shape {decision.shape}", f"about {frames:.0f} frames of 10 ms"
        raise DataError(f"speech activity of {utt!r} is of other audio", path=path, found=found, expected=expected)
    return decision


def read_speech(data_dir: str | os.PathLike, num_samples: Mapping[str, int]) -> dict[str, list[tuple[int, int]]]:
    """The speech of utterances by a data directory's ``vad.scp``, as :func:`speech_samples` gives it.

    One that has none at all, or is too short for a decision, is taken as a whole, and the log says how many were.

    Args:
        data_dir: the data directory.
        num_samples: of every utterance.

    Raises:
        DataError: no vad.scp, or it lacks an utterance or has other than one number for each 10 ms of it.
    """
    path = _vad_of(data_dir)
    table = ScpReader(str(path))
    result, silent = {}, []
    for utt, length in num_samples.items():
        decision = decision_of(utt, table, length, path)
        result[utt] = speech_samples(decision, length)
        if not result[utt]:
            silent.append(utt)
            result[utt] = [(0, length)]
    if silent:
        log.warning("%s: %d utterance(s) without speech are used whole, first %r", path, len(silent), silent[0])
    return result
