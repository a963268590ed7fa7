"""Means of embeddings: per speaker (or enrolment model), and of a whole table; Kaldi's ivector-mean."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.tables import TableWriter, read_table
from svtk.kaldi.text import only_one, read_spk2utt
from svtk.progress import progress

__all__ = ["average_embeddings", "speaker_means"]

log = logging.getLogger(__name__)


def _vectors(rspecifier: str, keys: set[str], length_normalize: bool) -> Iterator[tuple[str, np.ndarray]]:
    """The entries of a table that have one of the *keys*, as float64 (D,), all of one length and finite."""
    dim = None
    for key, array in read_table(rspecifier, keys):
        if array.ndim != 1 or (dim is not None and len(array) != dim):
            expected = "a vector" if dim is None else f"a vector of {dim}, as those before it"
            raise DataError(f"entry {key!r} does not fit", path=rspecifier, found=f"{array.shape}", expected=expected)
        dim = len(array)
        vector = array.astype(np.float64)  # (D,)
        norm = np.linalg.norm(vector)
        if not np.isfinite(norm):
            raise DataError(f"embedding {key!r} holds NaN or infinity", path=rspecifier, mend="extract it again")
        if length_normalize:
            if norm == 0:
                raise DataError(f"embedding {key!r} is zero and has no direction", path=rspecifier)
            vector /= norm
        yield key, vector


def speaker_means(
    spk2utt: Mapping[str, Sequence[str]], vectors: Iterable[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield ``(spk, mean, number of utterances)`` in the order of *spk2utt*, in one pass over the vectors.

    A speaker is done with, and forgotten, as soon as all of its utterances and all speakers before it are: a table
    sorted as spk2utt is takes the memory of one speaker, any other at most one sum per speaker.

    Args:
        spk2utt: utterances of each speaker; one utterance may belong to several.
        vectors: ``(utt, vector)`` with float64 (D,), in any order; those of no speaker are passed over.

    Yields:
        the plain mean, float32 (D,), of the utterances that are there. Those that are not are counted in one
        warning, and so are the speakers that have none at all, for whom nothing is yielded.
    """
    speakers_of: dict[str, list[str]] = {}
    for spk, utts in spk2utt.items():
        for utt in utts:
            speakers_of.setdefault(utt, []).append(spk)
    missing = {spk: len(utts) for spk, utts in spk2utt.items()}
    sums: dict[str, np.ndarray] = {}
    without: list[str] = []
    queue = deque(spk2utt)

    def finished(at_end: bool) -> Iterator[tuple[str, np.ndarray, int]]:
        """Those at the head of the queue for whom nothing more comes."""
        while queue and (at_end or missing[queue[0]] == 0):
            spk = queue.popleft()
            if spk in sums:
                count = len(spk2utt[spk]) - missing[spk]
                yield spk, (sums.pop(spk) / count).astype(np.float32), count
            else:
                without.append(spk)

    for utt, vector in vectors:
        for spk in speakers_of.pop(utt, ()):
            sums[spk] = sums[spk] + vector if spk in sums else vector
            missing[spk] -= 1
        yield from finished(at_end=False)
    yield from finished(at_end=True)
    for what, names in (("utterance(s) have no embedding", list(speakers_of)), ("speaker(s) have none", without)):
        if names:
            examples = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            log.warning("%d %s and are left out: %s", len(names), what, examples)


def average_embeddings(
    spk2utt: str | os.PathLike,
    rspecifier: str,
    wspecifier: str,
    num_utts_wspecifier: str | None = None,
    *,
    length_normalize: bool = False,
) -> int:
    """Write the mean embedding of every speaker; returns how many there are.

    Args:
        spk2utt: ``spk utt utt ...`` lines; an rxfilename, or ``ark:`` and one.
        rspecifier: embeddings (D,) by utterance, in any order; read once.
        wspecifier: output table of float vectors (D,) by speaker, in the order of *spk2utt*.
        num_utts_wspecifier: output table of integers, the number of utterances behind each mean.
        length_normalize: scale every embedding to length 1 before the mean is taken.

    Raises:
        DataError: no speaker has an embedding; an embedding that is no finite vector of the others' length, or is
            zero when it is to be scaled; stdin or stdout named twice; and what reading and writing tables raise.
    """
    only_one("stdin", {"SPK2UTT": spk2utt, "RSPECIFIER": rspecifier})
    only_one("stdout", {"WSPECIFIER": wspecifier, "NUM_UTTS_WSPECIFIER": num_utts_wspecifier})
    speakers = read_spk2utt(spk2utt)
    num_speakers = num_utts = 0
    with ExitStack() as stack:
        means = stack.enter_context(TableWriter(wspecifier))
        counts = stack.enter_context(TableWriter(num_utts_wspecifier)) if num_utts_wspecifier else None
        utts = {utt for listed in speakers.values() for utt in listed}
        vectors = progress(_vectors(rspecifier, utts, length_normalize), "embeddings")
        for spk, mean, count in speaker_means(speakers, vectors):
            means.write(spk, mean)
            if counts is not None:
                counts.write(spk, count)
            num_speakers += 1
            num_utts += count
        if not num_speakers:
            raise DataError(
                "no utterance of any speaker has an embedding",
                path=rspecifier,
                expected=f"keys as {next(iter(speakers.values()))[0]!r} in {spk2utt}",
                mend="give the spk2utt of the data these embeddings are of",
            )
    log.info("means of %d speakers, of %d embeddings", num_speakers, num_utts)
    return num_speakers
