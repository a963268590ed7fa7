"""Read 16 kHz mono audio, whole or in part, from a file, an archive (``file.ark:offset``) or a pipe (``command |``).

These are what a line of Kaldi's wav.scp may name. An entry of an archive is a WAV file, as Kaldi's wav-copy
writes it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import soundfile

from svtk.data import SAMPLE_RATE
from svtk.data.wav_archive import MOST_BYTES, WavEntry
from svtk.errors import AudioError, DataError
from svtk.kaldi.streams import open_rxfilename

__all__ = ["count_samples", "is_pipe", "open_audio", "read_audio", "repeat_to"]


def is_pipe(wav: str) -> bool:
    """Whether *wav* is a command whose output is the audio (``command |``)."""
    return wav.rstrip().endswith("|")


def read_audio(
    wav: str | WavEntry, start: int = 0, num_samples: int | None = None, utt: str | None = None
) -> np.ndarray:
    """Read samples of a recording.

    The output of a pipe is kept until two others were read, so that the segments of a recording, read in
    their order, run its command once.

    Args:
        wav: path, ``path:offset``, pipe, or an entry of an archive that was read as it came.
        start: first sample.
        num_samples: how many samples; None reads to the end. Where the audio ends before, what there is.
        utt: whose audio this is, for messages.

    Returns:
        float32 (N,) in [-1, 1].

    Raises:
        AudioError: unreadable or empty audio, a command that fails or is refused, or not 16 kHz mono.
    """
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
    try:
        with soundfile.SoundFile(_encoded(wav)) as sound:
            yield sound
    except AudioError:
        raise
    except DataError as error:  # of a pipe or an archive
        what = f"cannot read audio{_of(utt)}: {error.what}"
        raise AudioError(what, path=wav, expected=error.expected, mend=error.mend) from error
    except (OSError, RuntimeError, TypeError) as error:
        what = f"cannot read audio{_of(utt)}"
        raise AudioError(what, path=wav, found=str(error), mend="check or remove the file") from error


def _of(utt: str | None) -> str:
    return "" if utt is None else f" of {utt!r}"


def _require_16k_mono(sound: soundfile.SoundFile, wav: str | WavEntry, utt: str | None) -> None:
    if sound.samplerate != SAMPLE_RATE or sound.channels != 1:
        raise AudioError(
            f"wrong audio format{_of(utt)}",
            path=wav,
            found=f"{sound.samplerate} Hz, {'mono' if sound.channels == 1 else f'{sound.channels} channels'}",
            expected=f"{SAMPLE_RATE} Hz mono",
            mend="convert it, for example with svtk prepare-folder --convert",
        )


def _encoded(wav: str | WavEntry) -> str | io.BytesIO:
    """What soundfile opens: a path, or the bytes of a pipe or of an archive's entry."""
    if isinstance(wav, WavEntry):
        return io.BytesIO(wav.data)
    if is_pipe(wav):
        return io.BytesIO(_recent_pipes.output(wav))
    if re.fullmatch(r".+:\d+", wav, re.DOTALL):
        with open_rxfilename(wav) as file:
            head = file.read(8)
            size = int.from_bytes(head[4:], "little")
            if head[:4] != b"RIFF" or size >= MOST_BYTES:
                raise DataError("no WAV file of known length begins at this offset", expected="what wav-copy writes")
            return io.BytesIO(head + file.read(size))
    return wav


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
