"""Audio files of any kind made into utterances of 16 kHz mono: taken as they are, converted once, or piped.

=================  ========================================================
file               what wav.scp will hold
=================  ========================================================
16 kHz mono        its absolute path
other rate,        the path of a FLAC copy, 16 kHz mono (``convert``),
other channels     or nothing: an error that names the file
m4a, aac, ...      a pipe through ffmpeg, since libsndfile does not read it
=================  ========================================================
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from svtk.data import SAMPLE_RATE
from svtk.data.audio import read_audio
from svtk.errors import AudioError, DataError, SvtkError
from svtk.kaldi.datadir import Utterance
from svtk.progress import progress

__all__ = ["Source", "ffmpeg_pipe", "find_audio", "take_in", "to_16k_mono"]

SNDFILE_EXTENSIONS = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".sph", ".caf", ".w64")
)
FFMPEG_EXTENSIONS = frozenset((".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka", ".amr", ".3gp"))
_SKIP = "check or remove the file, or go on without it by --skip-bad"


@dataclasses.dataclass(frozen=True)
class Source:
    """An audio file and the utterance it will be."""

    utt: str
    spk: str
    path: Path
    gender: str | None = None


def find_audio(root: Path) -> list[Path]:
    """Audio files below *root*, by extension, sorted; links are followed, hidden files and folders are not seen.

    Raises:
        DataError: a folder cannot be read, or a path cannot stand in a wav.scp.
    """
    found = []

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read: {error.strerror}", path=error.filename)

    for folder, subfolders, files in os.walk(root, onerror=refuse, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            extension = os.path.splitext(name)[1].lower()
            if name.startswith(".") or extension not in SNDFILE_EXTENSIONS | FFMPEG_EXTENSIONS:
                continue
            path = os.path.abspath(os.path.join(folder, name))
            try:
                if len(path.encode().decode().splitlines()) > 1:
                    raise ValueError
            except ValueError:
                raise DataError("a path with a line break or not in UTF-8", path=repr(path), mend="rename it") from None
            found.append(Path(path))
    return sorted(found)


def ffmpeg_pipe(path: Path, channel: int | None = None) -> str:
    """The Kaldi pipe that decodes *path* to 16 kHz mono WAV; *channel* None mixes all channels."""
    mono = "-ac 1" if channel is None else f"-af 'pan=mono|c0=c{channel}'"
    return f"ffmpeg -nostdin -v 8 -i {shlex.quote(os.fspath(path))} {mono} -ar {SAMPLE_RATE} -f wav - |"


def to_16k_mono(samples: np.ndarray, rate: int, channel: int | None = None) -> np.ndarray:
    """(N, C) at *rate* Hz → float32 (M,) at 16 kHz: one *channel*, or the mean of all; polyphase resampling."""
    mono = samples.mean(axis=1) if channel is None else samples[:, channel]
    if rate != SAMPLE_RATE:
        common = np.gcd(rate, SAMPLE_RATE)
        mono = resample_poly(mono, SAMPLE_RATE // common, rate // common)
    return np.clip(mono, -1, 1).astype(np.float32)


def _convert(source: Source, wav_dir: Path, channel: int | None) -> tuple[Path, int]:
    """Write the 16 kHz mono FLAC of a file unless it is there and newer; returns its path and length in samples."""
    name = source.utt + ("" if channel is None else f".channel{channel}") + ".flac"
    final = Path(os.path.abspath(wav_dir / source.spk / name))
    if final.exists() and final.stat().st_mtime >= source.path.stat().st_mtime:
        return final, soundfile.info(final).frames
    try:
        samples, rate = soundfile.read(source.path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioError("cannot read audio", path=source.path, found=str(error), mend=_SKIP) from error
    samples = to_16k_mono(samples, rate, channel)
    if not samples.size:
        raise AudioError("empty audio", path=source.path, mend=_SKIP)
    part = final.with_name(f".part-{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        os.replace(part, final)
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot write: {error}", path=final) from error
    return final, len(samples)


def _take_in(source: Source, wav_dir: Path, convert: bool, channel: int | None, lengths: _Lengths) -> Utterance:
    path = source.path
    if path.suffix.lower() in FFMPEG_EXTENSIONS:
        wav = ffmpeg_pipe(path, channel)
        num_samples = lengths.get(path)
        if num_samples is None:
            try:
                num_samples = len(read_audio(wav))
            except DataError as error:
                raise AudioError("ffmpeg cannot read audio", path=path, found=str(error), mend=_SKIP) from error
            lengths.put(path, num_samples)
    else:
        try:
            info = soundfile.info(path)
        except (OSError, RuntimeError) as error:
            raise AudioError("cannot read audio", path=path, found=str(error), mend=_SKIP) from error
        if info.frames == 0:
            raise AudioError("empty audio", path=path, mend=_SKIP)
        if channel is not None and channel >= info.channels:
            raise AudioError(
                f"no channel {channel}",
                path=path,
                found=f"{info.channels} channel(s), counted from 0",
                mend="choose --channel",
            )
        wav, num_samples = os.fspath(path), info.frames
        if info.samplerate != SAMPLE_RATE or info.channels != 1:
            if not convert:
                raise AudioError(
                    "wrong audio format",
                    path=path,
                    found=f"{info.samplerate} Hz, {info.channels} channel(s)",
                    expected=f"{SAMPLE_RATE} Hz mono",
                    mend="leave out --no-convert, or convert it yourself",
                )
            converted, num_samples = _convert(source, wav_dir, channel)
            wav = os.fspath(converted)
    return Utterance(source.utt, source.spk, wav, source.utt, duration=num_samples / SAMPLE_RATE, gender=source.gender)


class _Lengths:
    """Lengths of piped files, kept in a file, so that a killed run need not decode a large corpus again."""

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[tuple[str, str], int] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                fields = line.split("\t")
                if len(fields) == 3 and fields[1].isdigit():  # the last line of a killed run may be cut short
                    self._known[fields[2], fields[0]] = int(fields[1])
        self._file = None

    def _key(self, path: Path) -> tuple[str, str]:
        status = path.stat()
        return os.fspath(path), f"{status.st_size}-{status.st_mtime_ns}"

    def get(self, path: Path) -> int | None:
        return self._known.get(self._key(path))

    def put(self, path: Path, num_samples: int) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed by close)
        name, state = self._key(path)
        self._file.write(f"{state}\t{num_samples}\t{name}\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def take_in(
    sources: Iterable[Source],
    data_dir: Path,
    *,
    convert: bool = True,
    channel: int | None = None,
    skip_bad: bool = False,
    num_threads: int | None = None,
    desc: str = "reading audio",
) -> list[Utterance]:
    """Make utterances of *sources*, with durations, converting where needed (to *data_dir*/wav/SPK/UTT.flac).

    Args:
        sources: files and the ids they get.
        data_dir: the data directory being made.
        convert: convert files of another rate or channel count; else refuse them.
        channel: take this channel (from 0) instead of the mean of all.
        skip_bad: leave out unreadable and empty files, with a warning each.
        num_threads: how many files are read at a time; None chooses by the number of processors.
        desc: what the work is called in the progress.

    Returns:
        utterances in the order of *sources*; every one has its duration.

    Raises:
        AudioError: a file is unreadable, empty or refused, by name.
        DataError: an utterance id stands twice, or nothing is left.
        SvtkError: ffmpeg is needed and missing.
    """
    sources = list(sources)
    seen: dict[str, Path] = {}
    for source in sources:
        other = seen.setdefault(source.utt, source.path)
        if other is not source.path:
            raise DataError(
                f"two files make the utterance {source.utt!r}",
                path=source.path,
                found=f"{other} as well",
                mend="rename or remove one",
            )
    piped = next((s for s in sources if s.path.suffix.lower() in FFMPEG_EXTENSIONS), None)
    if piped is not None and shutil.which("ffmpeg") is None:
        raise SvtkError(
            "ffmpeg is not on PATH, which this file needs",
            path=piped.path,
            mend="install ffmpeg, or convert the files to FLAC",
        )
    num_threads = num_threads or min(16, 2 * (os.cpu_count() or 1))
    lengths = _Lengths(data_dir / ".part-durations")
    bad = 0

    def one(source: Source) -> Utterance | AudioError:
        try:
            return _take_in(source, data_dir / "wav", convert, channel, lengths)
        except AudioError as error:
            if not skip_bad:
                raise
            return error

    utterances = []
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            for result in progress(_map(pool, one, sources), desc=desc, total=len(sources), unit="file"):
                if isinstance(result, Utterance):
                    utterances.append(result)
                else:
                    bad += 1
                    logging.warning("left out: %s", result)
    finally:
        lengths.close()
    if bad:
        logging.warning("%s: left out %d of %d files", data_dir, bad, len(sources))
    if not utterances:
        raise DataError("no usable audio", path=data_dir, found=f"{len(sources)} file(s), {bad} of them bad")
    return utterances


def _map(pool: ThreadPoolExecutor, function, items: list) -> Iterator:
    """``pool.map`` in slices, so that an error stops the work soon and a million files are not queued at once."""
    iterator = iter(items)
    while block := list(islice(iterator, 256)):
        yield from pool.map(function, block)


def forget_lengths(data_dir: Path) -> None:
    """Remove what :func:`take_in` kept for a resumed run, once the data directory is whole."""
    (data_dir / ".part-durations").unlink(missing_ok=True)
