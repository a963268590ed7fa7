"""Read 16 kHz mono audio, whole or in part, from a file, an archive (``file.ark:offset``) or a pipe (``command |``).

These are what a line of Kaldi's wav.scp may name. An entry of an archive is a WAV file, as Kaldi's wav-copy
writes it; in a shard (``file.tar:offset``) may lie audio of any format.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import soundfile

from svtk.data import SAMPLE_RATE
from svtk.data.shard_entries import is_in_shard, read_from_shard
from svtk.data.wav_archive import MOST_BYTES, WavEntry
from svtk.errors import AudioError, DataError
from svtk.kaldi.streams import open_rxfilename

__all__ = [
    *("Spliced", "count_samples", "encoded_audio", "is_pipe", "open_audio", "pipe_to_16k", "read_audio", "repeat_to"),
]

_UNKNOWN = 1 << 62  # libsndfile's number of samples where a header does not tell it is near 1 << 63
_BLOCK = 1 << 20  # samples decoded at a time
_TO_THE_END = b"\xff" * 4  # a size in a WAV header


class Spliced(NamedTuple):
    """Parts of a recording, heard as one after the other: each ``(first sample, number of samples)``."""

    wav: str
    parts: tuple[tuple[int, int], ...]

    def within(self, start: int, num_samples: int | None) -> list[tuple[int, int]]:
        """The parts of the recording that are *num_samples* (None: all) from *start* on of what is heard."""
        result, left = [], sum(length for _, length in self.parts) if num_samples is None else num_samples
        for first, length in self.parts:
            taken = min(length - start, left)
            if taken > 0:
                result.append((first + start, taken))
                left -= taken
            start = max(start - length, 0)
        return result


def is_pipe(wav: str) -> bool:
    """Whether *wav* is a command whose output is the audio (``command |``)."""
    return wav.rstrip().endswith("|")


def pipe_to_16k(wav: str) -> str:
    """The pipe that gives this recording's first channel at 16 kHz; ``-R``: the same samples in every run."""
    to_16k = f"-r {SAMPLE_RATE} -t wav - remix 1 |"
    if is_pipe(wav):
        return f"{wav} sox -R -t wav - {to_16k}"
    return f"sox -R {shlex.quote(wav)} {to_16k}"


def read_audio(
    wav: str | WavEntry | Spliced, start: int = 0, num_samples: int | None = None, utt: str | None = None
) -> np.ndarray:
    """Read samples of a recording.

    The output of a pipe is kept until two others were read, so that the segments of a recording, read in
    their order, run its command once.

    Args:
        wav: path, ``path:offset``, pipe, an entry of an archive that was read as it came, or parts of one of these.
        start: first sample.
        num_samples: how many samples; None reads to the end. Where the audio ends before, what there is.
        utt: whose audio this is, for messages.

    Returns:
        float32 (N,) in [-1, 1].

    Raises:
        AudioError: unreadable or empty audio, a command that fails or is refused, or not 16 kHz mono.
    """
    if isinstance(wav, Spliced):
        parts = wav.within(start, num_samples)
        if not parts:
            raise AudioError(f"empty audio{_of(utt)}", path=wav.wav, mend="remove the utterance")
        return np.concatenate([read_audio(wav.wav, first, length, utt) for first, length in parts])
    with open_audio(wav, utt) as sound:
        _require_16k_mono(sound, wav, utt)
        sound.seek(min(start, sound.frames))
        samples = sound.read(-1 if num_samples is None else num_samples, dtype="float32")
        if samples.size == 0:
            raise AudioError(f"empty audio{_of(utt)}", path=wav, mend="remove the utterance")
    return samples


def count_samples(wav: str, utt: str | None = None) -> int:
    """The number of samples of a recording, by its header; the command of a pipe is run.

    Raises:
        AudioError: as :func:`read_audio`.
    """
    with open_audio(wav, utt) as sound:
        _require_16k_mono(sound, wav, utt)
        if sound.frames == 0:
            raise AudioError(f"empty audio{_of(utt)}", path=wav, mend="remove the utterance")
        return sound.frames


@contextlib.contextmanager
def open_audio(wav: str | WavEntry, utt: str | None = None) -> Iterator[soundfile.SoundFile]:
    """Open a recording of any sampling rate and number of channels.

    Raises:
        AudioError: it cannot be opened, a command fails or is refused; also for what goes wrong in the block.
    """
    with _troubles_told(wav, utt):
        with soundfile.SoundFile(_encoded(wav)) as sound:
            if sound.frames < _UNKNOWN:
                yield sound
                return
        with soundfile.SoundFile(_decoded(wav)) as sound:
            yield sound


@contextlib.contextmanager
def _troubles_told(wav: str | WavEntry, utt: str | None) -> Iterator[None]:
    """Turn whatever goes wrong in reading *wav* into an AudioError."""
    try:
        yield
    except AudioError:
        raise
    except DataError as error:  # of a pipe or an archive
        what = f"cannot read audio{_of(utt)}: {error.what}"
        raise AudioError(what, path=wav, expected=error.expected, mend=error.mend) from error
    except (OSError, RuntimeError, TypeError) as error:
        what = f"cannot read audio{_of(utt)}"
        found = getattr(error, "error_string", str(error)).rstrip(".")  # libsndfile's words alone
        if isinstance(wav, str) and not (is_pipe(wav) or _is_in_archive(wav) or os.path.exists(wav)):
            found = "no such file"
        raise AudioError(what, path=wav, found=found, mend="check or remove the file") from error


class _Stream(soundfile.SoundFile):
    """A stream that is read from its beginning to its end only: soundfile seeks on every read where it may."""

    def seekable(self) -> bool:
        return False


def _decoded(wav: str | WavEntry) -> io.BytesIO:
    """What a header without a length leads to, as FLAC from ffmpeg's pipe has one: decoded to its end, as WAV."""
    blocks, whole = [], io.BytesIO()
    with _Stream(_encoded(wav)) as sound:
        while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
            blocks.append(block)
        blocks.append(block)  # of no samples: there may be no other
        soundfile.write(whole, np.concatenate(blocks), sound.samplerate, format="WAV", subtype="FLOAT")
    whole.seek(0)
    return whole


def encoded_audio(wav: str | WavEntry, utt: str | None = None) -> WavEntry | None:
    """A recording as it is encoded, or None where its header does not tell its length.

    Raises:
        AudioError: as :func:`open_audio`.
    """
    with _troubles_told(wav, utt):
        source = _encoded(wav)
        if isinstance(source, str):
            with open(source, "rb") as file:
                source = io.BytesIO(file.read())
        with soundfile.SoundFile(source) as sound:
            return WavEntry(source.getvalue(), os.fspath(wav)) if sound.frames < _UNKNOWN else None


def _of(utt: str | None) -> str:
    return "" if utt is None else f" of {utt!r}"


def _require_16k_mono(sound: soundfile.SoundFile, wav: str | WavEntry, utt: str | None) -> None:
    if sound.samplerate != SAMPLE_RATE or sound.channels != 1:
        in_archive = isinstance(wav, WavEntry) or _is_in_archive(wav)
        pipe = pipe_to_16k("FILE" if in_archive else os.fspath(wav))
        where = "before it is archived" if in_archive else "or, in its place in wav.scp"
        raise AudioError(
            f"wrong audio format{_of(utt)}",
            path=wav,
            found=f"{sound.samplerate} Hz, {'mono' if sound.channels == 1 else f'{sound.channels} channels'}",
            expected=f"{SAMPLE_RATE} Hz mono",
            mend=f"convert it (svtk prepare-folder --convert), {where}: {pipe}",
        )


def _is_in_archive(wav: str) -> bool:
    """Whether *wav* is ``path:offset``."""
    return not is_pipe(wav) and re.fullmatch(r".+:\d+", wav, re.DOTALL) is not None


def _encoded(wav: str | WavEntry) -> str | io.BytesIO:
    """What soundfile opens: a path, or the bytes of a pipe or of an archive's entry."""
    if isinstance(wav, WavEntry):
        return io.BytesIO(wav.data)
    if is_pipe(wav):
        return io.BytesIO(_with_length(_recent_pipes.output(wav)))
    if is_in_shard(wav):
        return io.BytesIO(read_from_shard(wav))
    if _is_in_archive(wav):
        with open_rxfilename(wav) as file:
            head = file.read(8)
            size = int.from_bytes(head[4:], "little")
            if head[:4] != b"RIFF" or not 0 < size < MOST_BYTES:
                raise DataError("no WAV file of known length begins at this offset", expected="what wav-copy writes")
            return io.BytesIO(head + file.read(size))
    return wav


def _with_length(data: bytes) -> bytes:
    """*data*; a WAV stream whose header says 0, its length not being known yet, with one that says "to the end"."""
    place = 12
    while data[:4] == b"RIFF" and place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if name == b"data":
            if size == 0 and place + 8 < len(data):
                return b"".join([data[:4], _TO_THE_END, data[8 : place + 4], _TO_THE_END, data[place + 8 :]])
            break
        place += 8 + size + size % 2
    return data


class _RecentPipes:
    """The output of the pipes that were read last; threads that want the same one run its command once."""

    SIZE = 2  # as many threads read ahead, each perhaps at another recording

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: OrderedDict[tuple[int, str], Future[bytes]] = OrderedDict()

    def output(self, pipe: str) -> bytes:
        key = (os.getpid(), pipe)  # a forked worker cannot wait for a thread of its parent
        with self._lock:
            future = self._outputs.get(key)
            is_new = future is None
            if is_new:
                future = self._outputs[key] = Future()
                if len(self._outputs) > self.SIZE:
                    self._outputs.popitem(last=False)
            self._outputs.move_to_end(key)
        if is_new:
            try:
                with open_rxfilename(pipe) as file:
                    data = file.read()
                future.set_result(data)
            except BaseException as error:
                with self._lock:
                    self._outputs.pop(key, None)
                future.set_exception(error)
        return future.result()


_recent_pipes = _RecentPipes()


def repeat_to(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """Repeat (N,) samples until there are at least *num_samples*, cut at exactly that; longer input is unchanged."""
    if len(samples) >= num_samples:
        return samples
    return np.resize(samples, num_samples)
