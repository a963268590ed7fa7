"""An embedding that refines while audio arrives, equal at the end to that of the whole utterance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from svtk.backends._base import RunningBackend
from svtk.data import FRAME
from svtk.data.audio import repeat_to
from svtk.errors import AudioError
from svtk.models.speaker_model import SpeakerModel

__all__ = ["StreamingEmbedder"]


class StreamingEmbedder:
    """Takes samples in pieces of any length; each window goes through the encoder once, when it is full.

    The first embedding comes with the first full window, one window after the beginning (3 s for the paper's
    model), and then whenever the audio has grown by *growth* at a window's end, so that all passes through the
    backend together cost no more than about 1 / *growth* of the last one. Between two embeddings lies at most one
    window's encoding and one pass of the backend over what there is.

    Where running statistics are all that the backend needs of the past (``linear``, ``mhfa``), memory is constant.
    Otherwise (context over the whole utterance) the hidden states are kept: 4 (L+1) H bytes per frame of 20 ms, 1.2
    MB per second for the paper's model, and for a backend that hears the wav the samples too, 64 kB per second.

    Args:
        model: in evaluation mode; an exported one, too.
        growth: by how much the audio grows from one embedding to the next; 0: one for every window.

    >>> from svtk.models.speaker_model import StudentSpec, build_model
    >>> spec = StudentSpec(0.5, {"name": "log_mel"}, {"name": "sv_mixer", "num_layers": 1}, {"name": "linear"})
    >>> stream = StreamingEmbedder(build_model(spec.model_config()).eval())
    >>> [e is None for e in (stream.push(np.zeros(5000)), stream.push(np.zeros(5000)))]
    [True, False]
    >>> tuple(stream.finish().shape)
    (192,)
    """

    def __init__(self, model: SpeakerModel, growth: float = 0.1):
        self.model, self.growth = model, growth
        self.num_samples = 0
        self._device = next(model.parameters()).device
        self._chunks: list[Tensor] = []
        self._first = 0  # of the samples that are still kept
        self._windows = 0  # encoded
        self._due = 0.0  # frames of which the next embedding is made
        self._hidden: list[list[Tensor]] = []
        self._statistics: list[Tensor] | None = None

    @property
    def _stride(self) -> int:
        """Samples from one window to the next."""
        return self.model.window_frames * FRAME

    @property
    def covered(self) -> int:
        """How many samples, from the first on, the windows that were full have seen."""
        return (self._windows - 1) * self._stride + self.model.window_samples if self._windows else 0

    @torch.inference_mode()
    def push(self, samples: np.ndarray | Tensor) -> Tensor | None:
        """Hear further samples (N,) in [-1, 1]; the embedding (E,) of the first :attr:`covered`, if one is due."""
        chunk = torch.as_tensor(np.array(samples, dtype=np.float32)) if isinstance(samples, np.ndarray) else samples
        self._chunks.append(chunk.detach().float().clone())
        self.num_samples += len(chunk)
        before = self._windows
        while self.num_samples >= self._windows * self._stride + self.model.window_samples:
            self._keep(self._encode(self._windows * self._stride))
            self._windows += 1
            self._forget(self.covered - self.model.window_samples)
        frames = self._windows * self.model.window_frames
        if self._windows == before or frames < self._due:
            return None
        self._due = frames * (1 + self.growth)
        return self._embed([], self.covered)

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """The embedding (E,) of all that was heard, as ``embed_cover`` gives it; more may be pushed after it.

        Raises:
            AudioError: nothing was heard.
        """
        if not self.num_samples:
            raise AudioError("empty audio: no sample was heard")
        if not self._windows:  # as extraction does
            wav = repeat_to(self._samples(0, self.num_samples).numpy(), self.model.window_samples)
            return self.model.embed_cover([torch.from_numpy(wav).to(self._device)])[0]
        frames, done = self.model.num_frames(self.num_samples), self._windows * self.model.window_frames
        tail: list[Tensor] = []
        if frames > done:
            states = self._encode((frames - self.model.window_frames) * FRAME)
            tail = [state[:, done - frames :] for state in states]
        return self._embed(tail, self.num_samples)

    def _encode(self, start: int) -> list[Tensor]:
        wav = self._samples(start, start + self.model.window_samples)
        return self.model.encode_window(wav[None].to(self._device))

    def _samples(self, start: int, end: int) -> Tensor:
        if len(self._chunks) > 1:
            self._chunks = [torch.cat(self._chunks)]
        return self._chunks[0][start - self._first : end - self._first]

    def _forget(self, start: int) -> None:
        """Let go of the samples before *start*: the last window may reach back to there, none further."""
        if not self.model.backend.needs_wav:
            self._chunks = [self._samples(start, self.num_samples).clone()]
            self._first = start

    def _keep(self, states: list[Tensor]) -> None:
        backend = self.model.backend
        if isinstance(backend, RunningBackend):
            self._statistics = backend.accumulate(states, self._statistics)
        else:
            self._hidden.append(states)

    def _embed(self, tail: list[Tensor], end: int) -> Tensor:
        """Of all that is kept, the states *tail* after it, and the wav up to *end* where the backend hears it."""
        backend = self.model.backend
        if isinstance(backend, RunningBackend):
            statistics = backend.accumulate(tail, self._statistics) if tail else self._statistics
            return backend.embed_statistics(statistics)[0]
        self._hidden = [[torch.cat(states, dim=1) for states in zip(*self._hidden, strict=True)]]
        hidden = self._hidden[0]
        if tail:
            hidden = [torch.cat(states, dim=1) for states in zip(hidden, tail, strict=True)]
        wav = self._samples(0, end) if backend.needs_wav else self._chunks[0][:0]
        return self.model.embed_hidden(hidden, wav[None].to(self._device))[0]
