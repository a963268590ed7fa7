"""Shards: tar files of whole recordings in random order, which training reads from front to back, mixing in a buffer.

``svtk make-shards`` writes them; in ``wav.scp`` they stand as ``path.tar:offset``.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow.compute as pc

from svtk.data.shard_entries import HEADER, is_in_shard, open_shard
from svtk.data.utterances import Utterances

__all__ = ["ShardReadahead", "Shards"]

_TOLD = 1 << 17  # bytes: Linux reads no more of what it is told at a time, on many disks


class Shards:
    """How N utterances lie in shards.

    Args:
        paths: of the shards.
        shard_of: each utterance's shard, an index into *paths* (N,).
        offsets: its first byte there (N,).
    """

    def __init__(self, paths: list[str], shard_of: np.ndarray, offsets: np.ndarray):
        self.paths, self.shard_of, self.offsets = paths, shard_of, offsets
        stored = np.lexsort((offsets, shard_of)).astype(np.int32)
        self._stored = np.split(stored, np.searchsorted(shard_of[stored], np.arange(1, len(paths))))

    @classmethod
    def of(cls, items: Utterances) -> Shards | None:
        """How *items* lie in shards, or None where one lies elsewhere."""
        if not len(items) or not is_in_shard(items.wavs[0].as_py()):
            return None
        found = pc.extract_regex(items.wavs, r"(?s)^(?P<path>.+\.tar):(?P<offset>\d+)$")
        if found.null_count:
            return None
        paths = pc.struct_field(found, "path").dictionary_encode()
        offsets = pc.struct_field(found, "offset").cast("int64").to_numpy(zero_copy_only=False)
        return cls(paths.dictionary.to_pylist(), paths.indices.to_numpy(zero_copy_only=False), offsets)

    def stream(self, rng: np.random.Generator) -> np.ndarray:
        """The utterances' places (N,): shards in random order, each from front to back."""
        return np.concatenate([self._stored[shard] for shard in rng.permutation(len(self.paths))])

    def order(self, rng: np.random.Generator, buffer: int) -> np.ndarray:
        """:meth:`stream`, but each utterance up to *buffer* others later (N,): what a buffer of so many gives."""
        stream = self.stream(rng)
        return stream[np.argsort(np.arange(len(stream)) + rng.uniform(0, buffer, len(stream)), kind="stable")]


class ShardReadahead:
    """Tells the system which parts of the shards will be read soon, so that it reads them as they lie.

    Every data loading process has its own; what one has made the system read, the others find in its cache.

    Args:
        shards: the shards.
        seed: with the epoch, of :meth:`Shards.order`'s generator.
        ahead: utterances to tell of before they are wanted.
    """

    def __init__(self, shards: Shards, seed: int, ahead: int):
        self._shards, self._seed, self._ahead = shards, seed, ahead
        self._epoch: int | None = None

    def want(self, indices: np.ndarray, epoch: int) -> None:
        """These utterances are about to be read in *epoch*."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._stream = self._shards.stream(np.random.default_rng((self._seed, epoch)))
            self._place = np.empty_like(self._stream)
            self._place[self._stream] = np.arange(len(self._stream), dtype=self._stream.dtype)
            self._told = int(self._place[indices].min())
        end = min(int(self._place[indices].max()) + 1 + self._ahead, len(self._stream))
        if end > self._told:
            self._tell(self._stream[self._told : end])
            self._told = end

    def _tell(self, places: np.ndarray) -> None:
        shards, offsets = self._shards.shard_of[places], self._shards.offsets[places]
        edges = np.flatnonzero(np.diff(shards)) + 1
        for first, last in zip([0, *edges], [*(edges - 1), len(places) - 1], strict=True):
            try:
                file = open_shard(self._shards.paths[shards[first]])
                end = int(offsets[last]) + (1 << 20)  # the last one's own length is not known
                for begin in range(int(offsets[first]) - HEADER, end, _TOLD):
                    os.posix_fadvise(file.fileno(), begin, min(_TOLD, end - begin), os.POSIX_FADV_WILLNEED)
            except (OSError, AttributeError):  # no such file, of which reading will tell; or no such call
                return
