"""Decode every recording of a data directory: does it open, is it 16 kHz mono, finite, and as long as is claimed?"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.audio import open_audio, pipe_to_16k
from svtk.data.manifest import MANIFEST
from svtk.errors import AudioError, DataError
from svtk.kaldi.data_files import DataFiles, durations_in
from svtk.prepare.check_files import DURATION_TOLERANCE, contents_of, segments_outside
from svtk.prepare.problems import Problems
from svtk.progress import progress

__all__ = ["Measured", "check_audio", "measure"]

_WRONG_FORMAT = f"not {SAMPLE_RATE} Hz mono"
_BLOCK = 1 << 20  # samples decoded at a time
_STREAM = 0x7FFF0000  # a WAV header written before its length was known names at least so many bytes


@dataclasses.dataclass(frozen=True)
class Measured:
    """A recording decoded: its samples per channel, and what is wrong with it (kind, found), or None."""

    num_samples: int
    fault: tuple[str, str] | None = None


def measure(wav: str) -> Measured:
    """Decode a path, ``path:offset`` or pipe to its end."""
    num_samples, is_finite = 0, True
    try:
        with open_audio(wav) as sound:
            if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
                found = f"{sound.samplerate} Hz, {sound.channels} channel(s)"
                return Measured(sound.frames, (_WRONG_FORMAT, found))
            while len(block := sound.read(_BLOCK, dtype="float32")):
                num_samples += len(block)
                is_finite = is_finite and bool(np.isfinite(block).all())
            claimed = _claimed_samples(sound)
    except AudioError as error:
        return Measured(num_samples, ("audio that cannot be read", "; ".join(filter(None, (error.what, error.found)))))
    if num_samples == 0:
        return Measured(0, ("empty audio", "no samples"))
    if not is_finite:
        return Measured(num_samples, ("NaN or infinity in the audio", "samples that are not numbers"))
    if num_samples < claimed:
        return Measured(num_samples, ("truncated audio", f"{num_samples} samples of {claimed} in its header"))
    return Measured(num_samples)


def _claimed_samples(sound) -> int:
    """The number of samples that the header promises; libsndfile itself counts what is there, and notes the rest."""
    claimed = sound.frames
    for line in sound.extra_info.splitlines():
        if line.startswith("data :") and "should be" in line:
            size, there = (int(word) for word in line.replace(")", " ").split() if word.isdecimal())
            if size < _STREAM and there:
                claimed = max(claimed, sound.frames * size // there)
    return claimed


def _measure_all(wavs: list[str], num_workers: int) -> Iterator[Measured]:
    if num_workers == 1 or len(wavs) <= 1:
        yield from map(measure, wavs)
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    chunksize = max(1, min(64, len(wavs) // (4 * num_workers)))
    try:
        with ProcessPoolExecutor(min(num_workers, len(wavs)), mp_context=spawn) as pool:
            yield from pool.map(measure, wavs, chunksize=chunksize)
    except BrokenProcessPool as error:
        raise DataError("a process that decoded audio was killed", mend="use fewer --num-workers") from error


def check_audio(
    path: Path, files: DataFiles, manifest: dict[str, int], problems: Problems, num_workers: int | None = None
) -> dict[str, float]:
    """Decode all recordings and add what is wrong to *problems*; pipes are run.

    Args:
        path: the data directory, for messages.
        files: its Kaldi files.
        manifest: samples by recording, as the manifest claims.
        problems: gets what is found.
        num_workers: processes; None: as many as processors.

    Returns:
        seconds by recording, of those that could be read.

    Raises:
        DataError: a process was killed.
    """
    contents = contents_of(files)
    lines = files["wav.scp"].line_numbers()
    num_workers = num_workers or os.cpu_count() or 1
    durations: dict[str, float] = {}
    results = progress(_measure_all(list(contents.wavs.values()), num_workers), "audio", len(contents.wavs), "file")
    for (recording, wav), measured in zip(contents.wavs.items(), results, strict=True):
        if measured.fault is None:
            durations[recording] = measured.num_samples / SAMPLE_RATE
            continue
        what, found = measured.fault
        place = f"{path / 'wav.scp'}:{lines[recording]}: {recording!r} ({wav}): {found}"
        mend = "mend it, or remove its line and run svtk fix-data"
        if what == _WRONG_FORMAT:
            mend = f"in wav.scp, write '{pipe_to_16k('FILE')}' in place of FILE, or svtk prepare-folder --convert"
        problems.add("wav.scp", what, place, mend)
    for name in ("reco2dur",) if "segments" in files else ("reco2dur", "utt2dur"):
        numbers = files[name].line_numbers() if name in files else {}
        _compare(path, name, durations_in(files, name), numbers, durations, DURATION_TOLERANCE, problems)
    seconds = {recording: count / SAMPLE_RATE for recording, count in manifest.items()}
    _compare(path, MANIFEST, seconds, {}, durations, END_TOLERANCE, problems)
    if "segments" in files:
        lines = files["segments"].line_numbers()
        for utt, found in segments_outside(contents, durations):
            place = f"{path / 'segments'}:{lines[utt]}: {found}"
            problems.add("segments", "a segment that is not within its audio", place, "correct or remove it")
    return durations


def _compare(
    path: Path,
    name: str,
    claimed: dict[str, float],
    lines: dict[str, int],
    durations: dict[str, float],
    tolerance: float,
    problems: Problems,
) -> None:
    """Report where file *name* claims (seconds by recording) what differs from the audio's durations."""
    for recording, seconds in claimed.items():
        actual = durations.get(recording, seconds)
        if abs(seconds - actual) > tolerance:
            line = f"{lines[recording]}: " if recording in lines else " "
            place = f"{path / name}:{line}{recording!r} has {seconds:.9g} s here, its audio {actual:.9g} s"
            problems.add(name, "not the duration of the audio", place, "remove the file, which can be made again")
