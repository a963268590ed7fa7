"""Embeddings of many utterances: audio read ahead, windows batched, one embedding per utterance."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal

import numpy as np
import torch

from svtk.data.audio import read_audio, repeat_to
from svtk.models.speaker_model import SpeakerModel

__all__ = ["Windows", "embed_utterances"]

Windows = Literal["cover", "crops"]


def embed_utterances(
    model: SpeakerModel,
    utterances: Iterable[tuple[str, str, int, int | None]],
    *,
    windows: Windows = "cover",
    num_crops: int = 10,
    batch_size: int = 8,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(utt, embedding)`` with float32 embeddings (E,), in the order given.

    An utterance shorter than one window is repeated to fill it, and the log says how many were. An
    embedding does not depend on what else is in its batch.

    Args:
        model: in evaluation mode.
        utterances: ``(utt, wav path or pipe, first sample, number of samples or None)``.
        windows: ``cover`` the whole utterance, or ``crops``: evenly spaced ones, averaged.
        num_crops: crops per utterance.
        batch_size: utterances read, and windows encoded, at a time.

    Raises:
        AudioError: an utterance cannot be read.
    """
    device = next(model.parameters()).device
    iterator = iter(utterances)
    short = 0

    def read(item: tuple[str, str, int, int | None]) -> np.ndarray:
        return read_audio(*item[1:])

    with ThreadPoolExecutor(2) as pool:

        def ahead():
            items = list(islice(iterator, batch_size))
            return items, [pool.submit(read, item) for item in items]

        items, futures = ahead()
        while items:
            next_items, next_futures = ahead()
            samples = [future.result() for future in futures]
            short += sum(len(s) < model.window_samples for s in samples)
            wavs = [torch.from_numpy(repeat_to(s, model.window_samples)).to(device) for s in samples]
            if windows == "cover":
                rows = model.embed_cover(wavs, batch_size)
            else:
                rows = model.embed_crops(wavs, num_crops, batch_size)
            for item, row in zip(items, rows.float().cpu().numpy(), strict=True):
                yield item[0], row
            items, futures = next_items, next_futures
    if short:
        logging.info(
            "%d utterance(s) shorter than one window of %.2f s were repeated to fill it", short, model.config.window
        )
