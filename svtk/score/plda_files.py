"""Training and adapting PLDA from files to files; what ``svtk train-plda`` and ``adapt-plda`` run."""

from __future__ import annotations

import logging
import os

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.plda import read_matrix, read_plda, write_matrix, write_plda, write_vector
from svtk.kaldi.tables import read_vectors
from svtk.kaldi.text import only_one, read_spk2utt
from svtk.score.lda import Preparation, read_mean, train_lda
from svtk.score.plda import adapt_plda, train_plda

__all__ = ["adapt_plda_files", "read_speakers", "train_plda_files"]

log = logging.getLogger(__name__)


def read_speakers(source: str, keys: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Who speaks in which row of a table.

    Args:
        source: spk2utt or utt2spk, told apart by which of their columns holds the table's keys; utterances
            that are not in the table, and rows that are not in the file, are counted in a warning.
        keys: the table's N keys.

    Returns:
        the rows (K,) that have a speaker, ascending, and their speakers (K,) from 0 to S - 1; integers.

    Raises:
        DataError: the file cannot be read, an utterance has two speakers, or no row has one.
    """
    row_of = {key: row for row, key in enumerate(keys)}
    lists = read_spk2utt(source)
    heads = sum(head in row_of for head in lists)
    listed = [(spk, utt) for spk, utts in lists.items() for utt in utts]
    if heads > sum(utt in row_of for _, utt in listed):
        listed = [(spk, utt) for utt, spk in listed]
    speaker_of: dict[str, str] = {}
    for spk, utt in listed:
        if speaker_of.setdefault(utt, spk) != spk:
            raise DataError(f"{utt!r} belongs to both {speaker_of[utt]!r} and {spk!r}", path=source, mend="keep one")
    rows = [row for row, key in enumerate(keys) if key in speaker_of]
    if not rows:
        expected = f"keys as {keys[0]!r}"
        raise DataError("no utterance has an embedding", path=source, found=repr(listed[0][1]), expected=expected)
    for count, what in (
        (len(speaker_of) - len(rows), "utterance(s) have no embedding"),
        (len(keys) - len(rows), "embedding(s) have no speaker"),
    ):
        if count:
            log.warning("%d %s and are left out", count, what)
    names, speakers = np.unique([speaker_of[keys[row]] for row in rows], return_inverse=True)
    log.info("%d embeddings of %d speakers", len(rows), len(names))
    return np.array(rows), speakers


def train_plda_files(
    speakers: str,
    rspecifier: str,
    plda: str | os.PathLike,
    *,
    mean_out: str | os.PathLike | None = None,
    lda_out: str | os.PathLike | None = None,
    lda_dim: int | None = None,
    total_covariance_factor: float = 0.0,
    length_norm: bool = True,
    num_iters: int = 10,
    text: bool = False,
) -> None:
    """Train PLDA and, when asked for, the centring and the LDA before it.

    Args:
        speakers: spk2utt or utt2spk.
        rspecifier: embeddings (D,) by utterance.
        plda: the PLDA file to write.
        mean_out: subtract the mean of the embeddings first, and write it there.
        lda_out, lda_dim: reduce them to *lda_dim* by LDA, and write the transform there; both or neither.
        total_covariance_factor: as :func:`svtk.score.lda.train_lda`.
        length_norm: scale to length sqrt(dimension) before PLDA.
        num_iters: iterations of expectation maximisation.
        text: write the PLDA file as text.

    Raises:
        DataError: the inputs cannot be read, do not fit each other, or are too few; or a file cannot be written.
    """
    only_one("stdin", {"SPK2UTT": speakers, "RSPECIFIER": rspecifier})
    keys, vectors = read_vectors(rspecifier)
    rows, labels = read_speakers(speakers, keys)
    keys, vectors = [keys[row] for row in rows], vectors[rows]
    mean = lda = None
    if mean_out is not None:
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)  # as it is written
    if lda_out is not None:
        centred = Preparation(mean, length_norm=False).apply(vectors, keys)
        lda = train_lda(centred, labels, lda_dim, total_covariance_factor).astype(np.float32)
    model = train_plda(Preparation(mean, lda, length_norm).apply(vectors, keys), labels, num_iters)
    if mean_out is not None:
        write_vector(mean_out, mean)
    if lda_out is not None:
        write_matrix(lda_out, lda)
    write_plda(plda, model, text=text)


def adapt_plda_files(
    plda: str,
    rspecifier: str,
    adapted: str | os.PathLike,
    *,
    mean: str | None = None,
    lda: str | None = None,
    length_norm: bool = True,
    within_covar_scale: float = 0.3,
    between_covar_scale: float = 0.7,
    mean_diff_scale: float = 1.0,
    text: bool = False,
) -> None:
    """Adapt a PLDA file to embeddings without speakers.

    Args:
        plda: the PLDA file.
        rspecifier: embeddings (D,) of the new domain.
        adapted: the PLDA file to write.
        mean: a vector file or an rspecifier, as :func:`svtk.score.lda.read_mean`; subtracted from the embeddings.
        lda: the transform file written beside the PLDA.
        length_norm: scale to length sqrt(dimension), as in training.
        within_covar_scale, between_covar_scale, mean_diff_scale: as :func:`svtk.score.plda.adapt_plda`.
        text: write the PLDA file as text.

    Raises:
        DataError: the inputs cannot be read or do not fit each other, or the file cannot be written.
    """
    only_one("stdin", {"PLDA": plda, "RSPECIFIER": rspecifier})
    model = read_plda(plda)
    keys, vectors = read_vectors(rspecifier)
    preparation = Preparation(
        None if mean is None else read_mean(mean), None if lda is None else read_matrix(lda), length_norm
    )
    adapted_model = adapt_plda(
        model,
        preparation.apply(vectors, keys),
        within_covar_scale=within_covar_scale,
        between_covar_scale=between_covar_scale,
        mean_diff_scale=mean_diff_scale,
    )
    log.info("adapted to %d embeddings", len(keys))
    write_plda(adapted, adapted_model, text=text)
