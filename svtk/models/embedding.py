"""Embeddings of many utterances: audio read ahead, windows batched, one embedding per utterance."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from svtk.data.audio import read_audio, repeat_to
from svtk.data.wav_archive import WavEntry
from svtk.errors import AudioError
from svtk.models.speaker_model import SpeakerModel

__all__ = ["Utterance", "Windows", "embed_utterances"]

log = logging.getLogger(__name__)

Windows = Literal["cover", "crops"]
#: utt, wav (what :func:`svtk.data.audio.read_audio` takes), first sample, number of samples (None: to the end)
Utterance = tuple[str, str | WavEntry, int, int | None]


def _read_ahead(
    model: SpeakerModel, utterances: Iterable[Utterance], batch_size: int, permissive: bool
) -> Iterator[list[tuple[str, Tensor]]]:
    """Batches of ``(utt, wav)``, wav (N,) on the model's device, the next batch being read in the background.

    An utterance shorter than one window is repeated to fill it, and the log says how many were.

    Raises:
        AudioError: an utterance cannot be read.
    """
    device = next(model.parameters()).device
    iterator = iter(utterances)
    short = 0
    with ThreadPoolExecutor(2) as pool:

        def submit() -> list[tuple[str, Future[np.ndarray]]]:
            return [(item[0], pool.submit(read_audio, *item[1:], item[0])) for item in islice(iterator, batch_size)]

        batch = submit()
        while batch:
            following = submit()
            samples = list(_results(batch, permissive))
            short += sum(len(x) < model.window_samples for _, x in samples)
            if samples:
                yield [(utt, torch.from_numpy(repeat_to(x, model.window_samples)).to(device)) for utt, x in samples]
            batch = following
    if short:
        seconds = model.config.window
        log.info("%d utterance(s) shorter than one window of %.2f s were repeated to fill it", short, seconds)


def _results(batch: list[tuple[str, Future[np.ndarray]]], permissive: bool) -> Iterator[tuple[str, np.ndarray]]:
    for utt, future in batch:
        try:
            samples = future.result()
        except AudioError as error:
            if not permissive:
                raise
            log.warning("left out: %s", error)
            continue
        yield utt, samples


def embed_utterances(
    model: SpeakerModel,
    utterances: Iterable[Utterance],
    *,
    windows: Windows = "cover",
    num_crops: int = 10,
    batch_size: int = 8,
    permissive: bool = False,
    together: bool = True,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(utt, embedding)`` with float32 embeddings (E,), in the order given.

    An embedding does not depend on what else is in its batch, but for its last digits.

    Args:
        model: in evaluation mode.
        utterances: ``(utt, wav, first sample, number of samples or None)``.
        windows: ``cover`` the whole utterance, or ``crops``: evenly spaced ones, averaged.
        num_crops: crops per utterance.
        batch_size: utterances read, and windows encoded, at a time.
        permissive: leave out, with a warning, the utterances whose audio cannot be read.
        together: encode the windows of several utterances at a time; without it an embedding is the same to the
            last bit whatever else is extracted.

    Raises:
        AudioError: an utterance cannot be read.
    """
    for batch in _read_ahead(model, utterances, batch_size, permissive):
        for group in [batch] if together else [[item] for item in batch]:
            wavs = [wav for _, wav in group]
            if windows == "cover":
                rows = model.embed_cover(wavs, batch_size)
            else:
                rows = model.embed_crops(wavs, num_crops, batch_size)
            yield from zip((utt for utt, _ in group), rows.float().cpu().numpy(), strict=True)
