"""Embeddings of the training utterances by another system: a Kaldi table of vectors, one for each utterance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from svtk.errors import DataError
from svtk.fingerprint import sha256_of_named
from svtk.kaldi.specifiers import parse_rspecifier
from svtk.kaldi.tables import read_vectors

__all__ = ["TeacherEmbeddings"]


class TeacherEmbeddings:
    """A table of teacher embeddings, held in memory.

    Args:
        rspecifier: vectors of one dimension; any system may have made them, and utterances beside those that are
            trained on may have one.

    Attributes:
        dim: E'.

    Raises:
        DataError: as :func:`svtk.kaldi.tables.read_vectors`.
    """

    def __init__(self, rspecifier: str):
        self.rspecifier = rspecifier
        utts, self._rows = read_vectors(rspecifier)
        self._index = {utt: i for i, utt in enumerate(utts)}
        self.dim = self._rows.shape[1]

    def identity(self) -> dict[str, str]:
        """What tells this table from another: its rxfilename, and SHA-256 of what it holds, however it is written."""
        named = ((utt, self._rows[i].tobytes()) for utt, i in sorted(self._index.items()))
        return {"path": parse_rspecifier(self.rspecifier).rxfilename, "sha256": sha256_of_named(named)}

    def rows(self, utts: Sequence[str]) -> np.ndarray:
        """Float32 (len(*utts*), E'), the embeddings of *utts* in their order.

        Raises:
            DataError: an utterance has none, or one that is all zeros or not finite and so has no direction.
        """
        missing = [utt for utt in utts if utt not in self._index]
        if missing:
            raise DataError(
                f"{len(missing)} utterance(s) have no teacher embedding, first {missing[0]!r}",
                path=self.rspecifier,
                expected="one vector for each training utterance, by its id",
                mend="extract the embeddings of the whole training data directory",
            )
        rows = self._rows[[self._index[utt] for utt in utts]]
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | ~rows.any(axis=1))
        if len(bad):
            row = rows[bad[0]]
            raise DataError(
                f"{len(bad)} teacher embedding(s) have no direction, first that of {utts[bad[0]]!r}",
                path=self.rspecifier,
                found="NaN or infinity" if not np.isfinite(row).all() else "zeros",
                mend="extract them again, or remove these utterances from the training data",
            )
        return rows
