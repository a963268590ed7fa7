"""Utterances and where their audio lies, as columns: millions take little memory, and processes that fork share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from svtk.data.audio import Spliced

__all__ = ["Located", "Utterances"]

_BLOCK = 1 << 14  # utterances turned into Python's objects at a time


@dataclasses.dataclass(frozen=True)
class Located:
    """Where the audio of an utterance lies: ``wav`` is a path, a pipe, or parts of it; start and length in samples."""

    utt: str
    spk: str | None
    wav: str | Spliced
    start: int
    num_samples: int


class Utterances(Sequence[Located]):
    """N utterances in their order.

    Args:
        utts, spks, wavs: Arrow arrays of strings (N,); ``spks`` may hold nulls.
        starts: first sample of each in its recording, integers (N,).
        num_samples: integers (N,).

    Attributes:
        utts, wavs: as given.
        spks: names of the speakers, each once.
        spk_of: index of each utterance's speaker in ``spks``, -1 for none (N,).
        starts, num_samples: int64 (N,); of speech only where :meth:`speech_only` made this.
    """

    def __init__(self, utts: pa.Array, spks: pa.Array, wavs: pa.Array, starts: np.ndarray, num_samples: np.ndarray):
        self.utts, self.wavs = utts, wavs
        spks = spks.dictionary_encode()
        self.spks: list[str] = spks.dictionary.to_pylist()
        self.spk_of = spks.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        self.starts, self.num_samples = np.asarray(starts, np.int64), np.asarray(num_samples, np.int64)
        self._bounds: np.ndarray | None = None  # of the parts of each utterance (N + 1,)
        self._parts: np.ndarray | None = None  # first sample in the recording, number of samples (P, 2)

    @classmethod
    def of(cls, items: Iterable[Located]) -> Utterances:
        """Those of *items*, whose ``wav`` is a path or a pipe."""
        rows = [(item.utt, item.spk, item.wav, item.start, item.num_samples) for item in items]
        utts, spks, wavs, starts, sizes = zip(*rows, strict=True) if rows else ([],) * 5
        return cls(*(pa.array(names, pa.large_string()) for names in (utts, spks, wavs)), starts, sizes)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Located:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        return self._located(index, self.utts[index].as_py(), self.wavs[index].as_py())

    def __iter__(self) -> Iterator[Located]:
        for first in range(0, len(self), _BLOCK):
            names = zip(*(column.slice(first, _BLOCK).to_pylist() for column in (self.utts, self.wavs)), strict=True)
            for index, (utt, wav) in enumerate(names, first):
                yield self._located(index, utt, wav)

    def _located(self, index: int, utt: str, wav: str) -> Located:
        spk = self.spks[self.spk_of[index]] if self.spk_of[index] >= 0 else None
        start, size = int(self.starts[index]), int(self.num_samples[index])
        if self._bounds is not None and self._bounds[index] < self._bounds[index + 1]:
            parts = self._parts[self._bounds[index] : self._bounds[index + 1]]
            return Located(utt, spk, Spliced(wav, tuple(map(tuple, parts.tolist()))), 0, size)
        return Located(utt, spk, wav, start, size)

    def speech_only(self, speech: Mapping[str, Sequence[tuple[int, int]]]) -> Utterances:
        """These utterances without what is not speech: *speech* has ``(first sample, number of samples)`` of each run,
        counted from the utterance's first sample."""
        result = Utterances(self.utts, pa.array([], pa.large_string()), self.wavs, self.starts, self.num_samples.copy())
        result.spks, result.spk_of = self.spks, self.spk_of
        bounds, parts = [0], []
        for index, item in enumerate(self):
            runs = speech[item.utt]
            if list(runs) != [(0, item.num_samples)]:  # else it is heard as it is
                parts.extend((item.start + first, length) for first, length in runs)
                result.num_samples[index] = sum(length for _, length in runs)
            bounds.append(len(parts))
        result._bounds, result._parts = np.array(bounds), np.array(parts, np.int64).reshape(-1, 2)
        return result
