"""Audio as people have it: files of any format, rate and number of channels, and pipes that are heard as they come."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from svtk.data.audio import is_pipe, open_audio
from svtk.data.resample import Resampler, resample, to_mono
from svtk.errors import AudioError

__all__ = ["hear", "read_any"]

_PIECE = 1 << 13  # bytes taken from a pipe at a time, if so many are there: a quarter of a second
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE  # what a WAV header calls its samples


def read_any(wav: str) -> np.ndarray:
    """The mean of all channels of a recording, at 16 kHz.

    Args:
        wav: a file that libsndfile or, where it is on PATH, ffmpeg reads; or what else a line of wav.scp may name.

    Returns:
        float32 (N,).

    Raises:
        AudioError: it cannot be read, or is empty.
    """
    try:
        with open_audio(wav) as sound:
            samples, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except AudioError as error:
        if is_pipe(wav) or not os.path.isfile(wav):
            raise
        samples, rate = _through_ffmpeg(wav, error)
    if not len(samples):
        raise AudioError("empty audio", path=wav, mend="record it again")
    return resample(samples.mean(axis=1), rate)


def _through_ffmpeg(file: str, error: AudioError) -> tuple[np.ndarray, int]:
    """What libsndfile does not read, the *error* being what it said; samples (N, C) and their rate."""
    if shutil.which("ffmpeg") is None:
        mend = "install ffmpeg, which reads more formats, or convert the file to FLAC"
        raise AudioError(error.what, path=file, found=error.found, mend=mend) from error
    try:
        with open_audio(f"ffmpeg -nostdin -v 8 -i {shlex.quote(os.path.abspath(file))} -f wav - |") as sound:
            return sound.read(dtype="float32", always_2d=True), sound.samplerate
    except AudioError as again:
        mend = "give audio that libsndfile or ffmpeg reads"
        raise AudioError("neither libsndfile nor ffmpeg reads this", path=file, mend=mend) from again


def hear(file: BinaryIO, name: str = "-", raw_rate: int | None = None) -> Iterator[np.ndarray]:
    """Yield what comes through a pipe as 16 kHz mono float32 pieces (N,), as it comes.

    WAV (16, 24 or 32 bits, or float) is heard on the way, whatever length its header gives; any other format that
    :func:`read_any` knows when the pipe has ended.

    Args:
        file: the pipe.
        name: what to call it in messages.
        raw_rate: Hz of samples without a header: 16-bit little-endian, one channel.

    Raises:
        AudioError: it cannot be read, or is empty.
    """
    heard = 0
    for piece in _pieces(file, name, raw_rate):
        heard += len(piece)
        yield piece
    if not heard:
        raise AudioError("empty audio: no sample came through the pipe", path=name)


def _pieces(file: BinaryIO, name: str, raw_rate: int | None) -> Iterator[np.ndarray]:
    if raw_rate is not None:
        yield from _resampled(_blocks(file, 2), "<i2", 2, 1, raw_rate)
        return
    head = _exactly(file, 12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        if head:
            with tempfile.NamedTemporaryFile(suffix=".audio") as whole:
                whole.write(head)
                shutil.copyfileobj(file, whole)
                whole.flush()
                yield read_any(whole.name)
        return
    kind, channels, rate, bits, size = _wav_header(file, name)
    width = bits // 8
    of = "<f" if kind == _FLOAT else "<i"
    frames = _blocks(file, width * channels, size or None)  # of length 0 is what was not known when it began
    yield from _resampled(frames, f"{of}{width}", width, channels, rate)


def _wav_header(file: BinaryIO, name: str) -> tuple[int, int, int, int, int]:
    """Read up to the samples: kind, channels, rate, bits and the bytes of samples."""
    form = b""
    while len(chunk := _exactly(file, 8)) == 8:
        label, size = struct.unpack("<4sI", chunk)
        if label == b"data":
            break
        body = _exactly(file, size + size % 2)
        form = body if label == b"fmt " else form
    else:
        raise AudioError("a WAV without samples", path=name)
    if len(form) < 16:
        raise AudioError("a WAV without a format", path=name)
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and len(form) >= 26:
        [kind] = struct.unpack_from("<H", form, 24)
    if (kind, bits) not in {(_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)} or not channels:
        found = f"format {kind}, {bits} bits, {channels} channel(s)"
        raise AudioError("a WAV of another kind", path=name, found=found, expected="16, 24 or 32 bits, or float")
    return kind, channels, rate, bits, size


def _exactly(file: BinaryIO, size: int) -> bytes:
    """*size* bytes, fewer only where the pipe ends."""
    parts, left = [], size
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _blocks(file: BinaryIO, frame: int, left: int | None = None) -> Iterator[bytes]:
    """Bytes as they come, whole frames of *frame* bytes, *left* of them at most; a frame cut short is dropped."""
    read = getattr(file, "read1", file.read)
    kept = b""
    while (left is None or left > 0) and (block := read(_PIECE if left is None else min(left, _PIECE))):
        left = None if left is None else left - len(block)
        block = kept + block
        end = len(block) // frame * frame
        kept = block[end:]
        if end:
            yield block[:end]


def _resampled(blocks: Iterator[bytes], dtype: str, width: int, channels: int, rate: int) -> Iterator[np.ndarray]:
    resampler = Resampler(rate)
    for block in blocks:
        if width == 3:  # 24 bits become the upper ones of 32
            wide = np.zeros((len(block) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(block, np.uint8).reshape(-1, 3)
            samples = wide.view("<i4")[:, 0]
        else:
            samples = np.frombuffer(block, dtype)
        piece = resampler.push(np.mean([to_mono(samples[c::channels]) for c in range(channels)], axis=0))
        if len(piece):
            yield piece
    if len(piece := resampler.finish()):
        yield piece
