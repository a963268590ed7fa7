"""Embeddings of many utterances: audio read ahead, windows in batches of one shape, results in the order given.

All windows of all utterances go through the encoder in batches of exactly ``batch_size``, whoever they belong to,
the last one filled up with silence; then each utterance goes through the backend by itself (a product of few rows,
as at a backend's end, may give a row other bits at another place). Kernels are chosen by shapes, so an embedding is
the same to the last bit whatever else is extracted, in whatever order and in however many jobs. On a CPU each thread
takes batches of its own and computes alone, which is quicker than all threads sharing each product, and makes the
bits independent of their number, too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from svtk.data.audio import Spliced, read_audio, repeat_to
from svtk.data.wav_archive import WavEntry
from svtk.errors import AudioError
from svtk.models.speaker_model import SpeakerModel

__all__ = ["Utterance", "Windows", "default_batch_size", "embed_utterances", "join_frames"]

log = logging.getLogger(__name__)

Windows = Literal["cover", "crops"]
#: utt, wav (what :func:`svtk.data.audio.read_audio` takes), first sample, number of samples (None: to the end)
Utterance = tuple[str, str | WavEntry | Spliced, int, int | None]

_READERS = 2
_AHEAD = 16  # utterances read before they are asked for
_VALUES = {"cpu": 2**18, "cuda": 2**23}  # of a hidden state of one batch: more would leave a CPU's cache


def default_batch_size(model: SpeakerModel) -> int:
    """Windows that are best encoded at a time: one for a large model on a CPU, more for small ones or on a GPU."""
    device = next(model.parameters()).device
    values = model.window_frames * model.encoder.hidden_dim
    return max(1, min(_VALUES.get(device.type, _VALUES["cpu"]) // values, 64 if device.type == "cuda" else 8))


def join_frames(windows: list[Tensor], num_frames: int) -> Tensor:
    """One hidden state (1, num_frames, H) from the windows (W_i, T, H) that cover an utterance, in their order.

    Of the last window, which is aligned with the end, only those frames are taken that the one before lacks.
    """
    *whole, last = windows
    before = (sum(len(part) for part in windows) - 1) * last.shape[1]
    parts = [part.flatten(0, 1) for part in (*whole, last[:-1])]
    return torch.cat([*parts, last[-1, last.shape[1] - (num_frames - before) :]])[None]


class _Job:
    """An utterance on its way: its windows, what the encoder made of them, and the embedding to come."""

    def __init__(self, utt: str, wav: Tensor, starts: list[int]):
        self.utt, self.wav, self.starts = utt, wav, torch.tensor(starts)
        self.row: Future[np.ndarray] = Future()
        self._found: dict[int, list[Tensor]] = {}
        self._missing = len(starts)
        self._lock = threading.Lock()

    def put(self, first: int, states: list[Tensor]) -> bool:
        """Take what was made of the windows from *first* on; True when that was the last."""
        with self._lock:
            self._found[first] = states
            self._missing -= len(states[0])
            return self._missing == 0

    def states(self) -> list[list[Tensor]]:
        """For each state its pieces (W_i, ...) in order; they are kept no longer."""
        found, self._found = self._found, {}
        return [list(pieces) for pieces in zip(*(found[first] for first in sorted(found)), strict=True)]


class _Piece(NamedTuple):
    """*count* windows of a job, from its window *first* on, which stand in a batch from row *row* on."""

    job: _Job
    first: int
    count: int
    row: int


class _Embedder:
    """What the threads do: batches of windows through the encoder, whole utterances through the backend."""

    def __init__(self, model: SpeakerModel, windows: Windows, num_crops: int, batch_size: int):
        self.model, self.windows, self.num_crops, self.batch_size = model, windows, num_crops, batch_size
        self.device = next(model.parameters()).device

    def job(self, utt: str, samples: np.ndarray) -> _Job:
        """The windows of an utterance."""
        wav = torch.from_numpy(repeat_to(samples, self.model.window_samples))
        if self.windows == "cover":
            return _Job(utt, wav, self.model.cover_starts(len(wav)))
        return _Job(utt, wav, self.model.crop_starts(len(wav), self.num_crops))

    @torch.inference_mode()
    def encode(self, pieces: list[_Piece]) -> None:
        """One batch; the utterances that it completes get their embeddings."""
        try:
            on_gpu = self.device.type == "cuda"
            batch = torch.zeros(self.batch_size, self.model.window_samples, pin_memory=on_gpu)
            for job, first, count, row in pieces:
                batch[row : row + count] = self._windows_of(job, first, count)
            states = self.model.encode_window(batch.to(self.device, non_blocking=True))
            for job, first, count, row in pieces:
                if job.put(first, [state[row : row + count] for state in states]):
                    job.row.set_result(self._embed(job))
        except BaseException as error:
            for piece in pieces:
                if not piece.job.row.done():
                    piece.job.row.set_exception(error)

    def _windows_of(self, job: _Job, first: int, count: int) -> Tensor:
        """(count, N), copied without a step of Python per window."""
        return job.wav.unfold(0, self.model.window_samples, 1)[job.starts[first : first + count]]

    def _embed(self, job: _Job) -> np.ndarray:
        if self.windows == "crops":
            hidden = [torch.cat(pieces) for pieces in job.states()]
            wavs = self._windows_of(job, 0, len(job.starts)).to(self.device)
            row = nn.functional.normalize(self.model.embed_hidden(hidden, wavs)).mean(0)
        else:
            frames = self.model.num_frames(len(job.wav))
            hidden = [join_frames(pieces, frames) for pieces in job.states()]
            [row] = self.model.embed_hidden(hidden, job.wav[None].to(self.device))
        return row.float().cpu().numpy()


@contextlib.contextmanager
def _threads(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that compute, and their number; on a CPU as many as torch may use, each by itself."""
    before = torch.get_num_threads()
    on_cpu = device.type == "cpu"
    number = before if on_cpu else 2  # on a GPU one waits for results while the other gives it more to do
    pool = ThreadPoolExecutor(number, initializer=torch.set_num_threads if on_cpu else None, initargs=(1,) * on_cpu)
    try:
        yield pool, number
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what threads set holds for all threads to come


def _read(utterances: Iterable[Utterance], permissive: bool) -> Iterator[tuple[str, np.ndarray]]:
    """``(utt, samples)`` in the order given, some utterances being read ahead."""
    iterator = iter(utterances)
    with ThreadPoolExecutor(_READERS) as pool:

        def submit(count: int) -> list[tuple[str, Future[np.ndarray]]]:
            return [(item[0], pool.submit(read_audio, *item[1:], item[0])) for item in islice(iterator, count)]

        ahead = deque(submit(_AHEAD))
        try:
            while ahead:
                utt, future = ahead.popleft()
                try:
                    samples = future.result()
                except AudioError as error:
                    if not permissive:
                        raise
                    log.warning("left out: %s", error)
                else:
                    yield utt, samples
                ahead.extend(submit(1))
        finally:
            pool.shutdown(cancel_futures=True)


def embed_utterances(
    model: SpeakerModel,
    utterances: Iterable[Utterance],
    *,
    windows: Windows = "cover",
    num_crops: int = 10,
    batch_size: int | None = None,
    permissive: bool = False,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(utt, embedding)`` with float32 embeddings (E,), in the order given.

    On one machine an embedding is the same to the last bit whatever else is extracted, in whatever order and by
    however many threads; another *batch_size* may change its last digits. An utterance shorter than one window is
    repeated to fill it, and the log says how many were. Memory does not grow with the number of utterances.

    Args:
        model: in evaluation mode; on a CPU it is run by ``torch.get_num_threads()`` threads at a time.
        utterances: ``(utt, wav, first sample, number of samples or None)``.
        windows: ``cover`` the whole utterance, or ``crops``: evenly spaced ones, averaged.
        num_crops: crops per utterance.
        batch_size: windows encoded at a time [:func:`default_batch_size`].
        permissive: leave out, with a warning, the utterances whose audio cannot be read.

    Raises:
        AudioError: an utterance cannot be read; after the embeddings of all before it.
    """
    batch_size = batch_size or default_batch_size(model)
    embedder = _Embedder(model, windows, num_crops, batch_size)
    waiting: deque[_Job] = deque()
    running: deque[Future[None]] = deque()
    batch: list[_Piece] = []
    short, failed = 0, None
    with _threads(embedder.device) as (pool, number):

        def submit() -> None:
            if len(running) > 2 * number:
                running.popleft().result()
            running.append(pool.submit(embedder.encode, batch.copy()))
            batch.clear()

        with contextlib.closing(_read(utterances, permissive)) as audio:
            while True:
                try:
                    utt, samples = next(audio)
                except StopIteration:
                    break
                except AudioError as error:
                    failed = error
                    break
                short += len(samples) < model.window_samples
                job = embedder.job(utt, samples)
                waiting.append(job)
                first, total = 0, len(job.starts)
                while first < total:
                    row = batch[-1].row + batch[-1].count if batch else 0
                    count = min(total - first, batch_size - row)
                    batch.append(_Piece(job, first, count, row))
                    first += count
                    if row + count == batch_size:
                        submit()
                while waiting and waiting[0].row.done():
                    yield waiting[0].utt, waiting.popleft().row.result()
        if batch:
            submit()
        while waiting:
            yield waiting[0].utt, waiting.popleft().row.result()
    if short:
        seconds = model.config.window
        log.info("%d utterance(s) shorter than one window of %.2f s were repeated to fill it", short, seconds)
    if failed is not None:
        raise failed
