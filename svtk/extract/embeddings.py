"""Embeddings of a data directory, or of a wav.scp, as a Kaldi table of vectors; resumable."""

from __future__ import annotations

import logging
from pathlib import Path

from svtk.data.cuts import load_cuts, locate
from svtk.errors import DataError
from svtk.fingerprint import sha256_of_files, sha256_of_json
from svtk.kaldi.specifiers import is_rspecifier, parse_rspecifier
from svtk.kaldi.tables import ScpReader, TableWriter
from svtk.models.embedding import Windows, embed_utterances
from svtk.models.speaker_model import load_model
from svtk.progress import progress

__all__ = ["extract_embeddings"]

log = logging.getLogger(__name__)


def _utterances(source: str) -> list[tuple[str, str, int, int | None]]:
    """``(utt, wav, first sample, samples)`` of a data directory or of ``scp:wav.scp`` (``-`` and pipes too)."""
    if not is_rspecifier(source):
        return [(item.utt, item.wav, item.start, item.num_samples) for item in map(locate, load_cuts(source))]
    spec = parse_rspecifier(source)
    if spec.kind != "scp":
        raise DataError(
            "audio comes from a script file", found=repr(source), expected="scp:wav.scp or a data directory"
        )
    script = ScpReader(spec.rxfilename)
    return [(utt, script.rxfilename(utt), 0, None) for utt in script]


def extract_embeddings(
    model_dir: str,
    source: str,
    wspecifier: str,
    *,
    windows: Windows = "cover",
    num_crops: int = 10,
    batch_size: int = 8,
    device: str = "cpu",
) -> int:
    """Write one embedding per utterance; returns how many.

    Args:
        model_dir: MODEL_DIR of a student or a teacher.
        source: data directory, or ``scp:wav.scp`` whose entries are files or pipes.
        wspecifier: output table of float vectors (E,).
        windows, num_crops, batch_size: as :func:`svtk.models.embedding.embed_utterances`.
        device: torch device.

    Raises:
        ModelError, DataError, AudioError: see there.
    """
    model = load_model(model_dir, device)
    utterances = _utterances(source)
    model_files = [Path(model_dir) / name for name in ("config.yaml", "model.safetensors")]
    fingerprint = [sha256_of_files(model_files), sha256_of_json([utterances, windows, num_crops])]
    with TableWriter(wspecifier, resume=True, fingerprint=fingerprint) as writer:
        wanted = [item for item in utterances if item[0] not in writer.done]
        if len(wanted) < len(utterances):
            log.info("resuming: %d of %d embeddings are there", len(utterances) - len(wanted), len(utterances))
        rows = embed_utterances(model, wanted, windows=windows, num_crops=num_crops, batch_size=batch_size)
        for utt, row in progress(rows, "embeddings", total=len(wanted)):
            writer.write(utt, row)
    return len(utterances)
