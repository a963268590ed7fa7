"""Embeddings of a data directory, a wav.scp or an archive of audio, as a Kaldi table of vectors; resumable."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from svtk.data.wav_archive import read_wav_archive
from svtk.errors import DataError
from svtk.fingerprint import sha256_of_files, sha256_of_json
from svtk.kaldi.datadir import read_data_dir
from svtk.kaldi.specifiers import is_rspecifier, parse_rspecifier
from svtk.kaldi.tables import ScpReader, TableWriter
from svtk.models.embedding import Utterance, Windows, embed_utterances
from svtk.models.exported import embedder_files, open_embedder
from svtk.models.speaker_model import Precision
from svtk.progress import progress

__all__ = ["extract_embeddings"]

log = logging.getLogger(__name__)


def _listed(source: str, speech_only: bool) -> list[Utterance]:
    """The utterances of a data directory or a script file."""
    if not is_rspecifier(source):
        if os.path.isfile(source):
            mend = f"for a wav.scp write scp:{source}, for an archive of audio ark:{source}"
            raise DataError("not a data directory", path=source, found="a file", mend=mend)
        if not speech_only and not os.path.exists(os.path.join(source, "segments")):  # no recording's length is needed
            return [(u.utt, u.wav, 0, None) for u in read_data_dir(source).utterances]
        from svtk.data.cuts import load_utterances

        located = load_utterances(source, speech_only=speech_only)
        return [(item.utt, item.wav, item.start, item.num_samples) for item in located]
    spec = parse_rspecifier(source)
    script = ScpReader(spec.rxfilename, permissive=spec.permissive)
    return [(utt, script.rxfilename(utt), 0, None) for utt in script]


def extract_embeddings(
    model_dir: str,
    source: str,
    wspecifier: str,
    *,
    windows: Windows = "cover",
    num_crops: int = 10,
    batch_size: int | None = None,
    precision: Precision = "float32",
    vad: bool = False,
    device: str = "cpu",
) -> int:
    """Write one embedding per utterance; returns how many there are.

    Args:
        model_dir: MODEL_DIR of a student or a teacher, or what ``svtk export`` made of one.
        source: a data directory; ``scp:wav.scp``, whose entries are files, ``file.ark:offset`` or pipes; or
            ``ark:wav.ark``, WAV files as Kaldi's wav-copy writes them, read as they come, so that such a run is
            not resumed. With the option ``p`` (permissive), utterances whose audio cannot be read are left out
            with a warning.
        wspecifier: output table of float vectors (E,).
        windows, num_crops, batch_size: as :func:`svtk.models.embedding.embed_utterances`.
        precision: as :meth:`svtk.models.speaker_model.SpeakerModel.for_inference`.
        vad: from speech only, by the ``vad.scp`` of the data directory, which *source* must be.
        device: torch device.

    Raises:
        ModelError: MODEL_DIR holds no model.
        DataError: no utterances, or the source cannot be read or the table written; *vad* without a ``vad.scp``.
        AudioError: an utterance cannot be read.
    """
    spec = parse_rspecifier(source) if is_rspecifier(source) else None
    as_it_comes = spec is not None and spec.kind == "ark"
    model = open_embedder(model_dir, device, num_threads=1).for_inference(precision)
    utterances: Iterable[Utterance]
    if as_it_comes:
        utterances = ((utt, wav, 0, None) for utt, wav in read_wav_archive(spec.rxfilename))
        total = fingerprint = None
    else:
        utterances = _listed(source, vad)
        made_by = [utterances, windows, num_crops, precision]
        fingerprint = [sha256_of_files(embedder_files(model_dir)), sha256_of_json(made_by)]
    with TableWriter(wspecifier, resume=not as_it_comes, fingerprint=fingerprint) as writer:
        count = len(writer.done)
        if not as_it_comes:
            if count:
                log.info("resuming: %d of %d embeddings are there", count, len(utterances))
            utterances = [item for item in utterances if item[0] not in writer.done]
            total = len(utterances)
        rows = embed_utterances(
            model,
            utterances,
            windows=windows,
            num_crops=num_crops,
            batch_size=batch_size,
            permissive=spec is not None and spec.permissive,
        )
        for utt, row in progress(rows, "embeddings", total=total):
            writer.write(utt, row)
            count += 1
        if not count:
            raise DataError("no utterances", path=source, mend="give a data directory, scp:wav.scp or ark:wav.ark")
    return count
