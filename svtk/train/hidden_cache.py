"""The hidden states of a frozen encoder, computed once and held in memory for training a backend."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch

from svtk.data import FRAME
from svtk.data.audio import read_audio, repeat_to
from svtk.data.augment import Augmenter
from svtk.data.crops import HiddenCrops
from svtk.data.utterances import Utterances
from svtk.errors import ConfigError
from svtk.models.speaker_model import SpeakerModel
from svtk.progress import progress

__all__ = ["cache_hidden"]

log = logging.getLogger(__name__)


def cache_hidden(
    model: SpeakerModel, items: Utterances, copies: int, augmenter: Augmenter | None, seed: int
) -> HiddenCrops:
    """Encode every utterance *copies* times: as it is, then augmented (once only without an augmenter).

    Args:
        model: in evaluation mode, on its device; its window is the crop.
        items: training utterances.
        copies: at least 1.
        augmenter: makes the further copies.
        seed: of the augmentation and of the crops.

    Raises:
        ConfigError: the hidden states (float16) do not fit into the memory that is free.
    """
    copies = copies if augmenter is not None else 1
    frames = sum(max(item.num_samples // FRAME, model.window_frames) for item in items)
    needed = frames * copies * model.encoder.num_hidden * model.encoder.hidden_dim * 2
    free = _available_memory()
    log.info("caching %d × %d hidden states: %.2f GiB of memory", len(items), copies, needed / 2**30)
    if needed > free:
        raise ConfigError(
            "the hidden states do not fit into memory",
            found=f"{free / 2**30:.1f} GiB free",
            expected=f"{needed / 2**30:.1f} GiB",
            mend="set cache_hidden=0, or 1",
        )
    device = next(model.parameters()).device
    hidden = []
    for index, item in enumerate(progress(items, "hidden states")):
        wav = repeat_to(read_audio(item.wav, item.start, item.num_samples, item.utt), model.window_samples)
        wavs = [wav, *(augmenter(wav, np.random.default_rng((seed, index, i))) for i in range(1, copies))]
        states = model.hidden_cover([torch.from_numpy(x).to(device) for x in wavs])
        hidden.append([torch.stack(copy).half().cpu() for copy in states])
    return HiddenCrops(items, hidden, model.window_frames, seed)


def _available_memory() -> float:
    """Bytes of memory that a process may take; infinite where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf
