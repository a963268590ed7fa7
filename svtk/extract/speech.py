"""Speech activity of utterances as Kaldi tables of frame decisions, resumable, and data directories of their speech."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from svtk.data import SAMPLE_RATE
from svtk.data.audio import read_audio
from svtk.data.cuts import load_utterances, write_cuts
from svtk.data.speech_activity import (
    FRAME_SHIFT,
    EnergyOptions,
    TwoGaussians,
    VadOptions,
    kaldi_decision,
    log_energy,
)
from svtk.data.speech_activity_path import Topology, decode
from svtk.data.speech_spans import decision_of, speech_frames
from svtk.errors import ConfigError, DataError
from svtk.fingerprint import sha256_of_json
from svtk.kaldi.datadir import read_data_dir, write_data_dir
from svtk.kaldi.specifiers import is_rspecifier
from svtk.kaldi.tables import TableWriter, read_table
from svtk.progress import progress

__all__ = ["Detector", "DetectorName", "detect_speech", "write_speech_segments"]

log = logging.getLogger(__name__)

DetectorName = Literal["energy", "kaldi", "silero"]
_BATCH = 32  # utterances decoded at a time
_SHIFT = FRAME_SHIFT / SAMPLE_RATE  # seconds


@dataclasses.dataclass(frozen=True)
class Detector:
    """How speech is told from silence.

    Attributes:
        name: ``energy`` (two Gaussians), ``silero``, both decoded through *topology*, or ``kaldi``, frame by frame.
        energy: frames and their energies, of ``energy`` and ``kaldi``.
        vad: Kaldi's decision.
        topology: minimum durations and costs of changing.
    """

    name: DetectorName = "energy"
    energy: EnergyOptions = dataclasses.field(default_factory=EnergyOptions)
    vad: VadOptions = dataclasses.field(default_factory=VadOptions)
    topology: Topology = dataclasses.field(default_factory=Topology)


def detect_speech(source: str, wspecifier: str, detector: Detector, *, engine: str | None = None) -> int:
    """Write for each utterance a vector of 1 (speech) and 0 (silence), one for each 10 ms; returns how many there are.

    Utterances of no frame are left out with a warning, as compute-vad does.

    Args:
        source: a data directory; or a table of Kaldi features whose first column is the log-energy, as for
            compute-vad, which is not resumed when it is an archive.
        wspecifier: output table of float vectors (T,).
        detector: how speech is told from silence.
        engine: ``k2`` or ``torch`` decode; None: k2 where it is installed. Both give the same.

    Raises:
        ConfigError: Silero for features; or the engine is k2 and cannot be imported.
        DataError: no utterances, or *source* cannot be read or the table written.
        AudioError: an utterance cannot be read.
        ModelError: Silero-VAD is not installed.
    """
    from_features = is_rspecifier(source)
    if from_features and detector.name == "silero":
        raise ConfigError("Silero-VAD hears audio", found=f"features, {source!r}", mend="give the data directory")
    total: int | None = None
    fingerprint: Any = None
    rows: Iterable[tuple[str, Any]]
    if from_features:
        rows = ((utt, _first_column(utt, features, source)) for utt, features in read_table(source))
    else:
        rows = [(item.utt, item) for item in load_utterances(source)]
        total = len(rows)
        fingerprint = sha256_of_json([dataclasses.asdict(detector), [dataclasses.astuple(item) for _, item in rows]])
    count = 0
    with TableWriter(wspecifier, resume=not from_features, fingerprint=fingerprint) as writer:
        if writer.done:
            log.info("resuming: %d of %d utterances are there", len(writer.done), total)
        left = (row for row in rows if row[0] not in writer.done)
        shown = progress(left, "speech activity", total=None if total is None else total - len(writer.done))
        for utt, decision in _decisions(shown, _evidence(detector), detector, engine):
            if not len(decision):
                log.warning("%s: no frame in it, left out", utt)
                continue
            writer.write(utt, decision)
        count = len(writer.done)
        if not count:
            raise DataError("no utterance of a frame or more", path=source, mend="look at the audio or the features")
    return count


def _first_column(utt: str, features: np.ndarray, path: str) -> np.ndarray:
    if features.ndim != 2:
        found = f"a vector of {features.size}"
        raise DataError(
            f"entry {utt!r} is no features", path=path, found=found, expected="a matrix, frames by dimensions"
        )
    return features[:, 0] if features.size else np.zeros(0, np.float32)


def _evidence(detector: Detector) -> Callable[[Any], np.ndarray]:
    """What makes log-likelihoods (T, 2), or for Kaldi's decision log-energies (T,), of an utterance or of energies."""

    def energies(item: Any) -> np.ndarray:
        if isinstance(item, np.ndarray):
            return item
        return log_energy(read_audio(item.wav, item.start, item.num_samples, item.utt), detector.energy)

    if detector.name == "kaldi":
        return energies
    if detector.name == "energy":
        model = TwoGaussians()
        return lambda item: model(energies(item), detector.energy.length)
    from svtk.data.silero import Silero

    silero = Silero()
    return lambda item: silero(read_audio(item.wav, item.start, item.num_samples, item.utt))


def _decisions(
    rows: Iterable[tuple[str, Any]], evidence: Callable[[Any], np.ndarray], detector: Detector, engine: str | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(utt, float32 (T,) of 0 and 1)``."""
    if detector.name == "kaldi":
        for utt, item in rows:
            yield utt, kaldi_decision(evidence(item), detector.vad)
        return
    iterator = iter(rows)
    while batch := [(utt, torch.from_numpy(evidence(item))) for utt, item in islice(iterator, _BATCH)]:
        try:
            paths = decode([loglikes for _, loglikes in batch], detector.topology, engine)
        except (ImportError, OSError) as error:
            mend = "install k2 for this torch (README), or leave --engine away"
            raise ConfigError("k2 cannot be imported", found=str(error), mend=mend) from error
        for (utt, _), path in zip(batch, paths, strict=True):
            yield utt, path.numpy().astype(np.float32)


def write_speech_segments(data_dir: str | os.PathLike, decisions: str, out_dir: str | os.PathLike) -> int:
    """Write a data directory with one utterance for each run of speech, and its manifest; returns how many there are.

    They are named ``UTT-FIRST-END`` by their frames and keep their speakers; utterances without speech have none.

    Args:
        data_dir: the data directory.
        decisions: table of 0 and 1 for each 10 ms of its utterances, as :func:`detect_speech` or compute-vad writes.
        out_dir: the new data directory.

    Raises:
        DataError: the table lacks an utterance or is of other audio, or there is no speech at all.
    """
    source, table = read_data_dir(data_dir), dict(read_table(decisions))
    durations = {item.utt: item.num_samples / SAMPLE_RATE for item in load_utterances(data_dir)}
    segments = []
    for utterance in source.utterances:
        whole = durations[utterance.utt]
        decision = decision_of(utterance.utt, table, round(whole * SAMPLE_RATE), decisions)
        for first, end in speech_frames(decision):
            stop = whole if end == len(decision) else min(end * _SHIFT, whole)
            if stop > first * _SHIFT:
                segments.append(
                    dataclasses.replace(
                        utterance,
                        utt=f"{utterance.utt}-{first:07d}-{end:07d}",
                        start=utterance.start + first * _SHIFT,
                        end=utterance.start + stop,
                        duration=stop - first * _SHIFT,
                    )
                )
    if not segments:
        raise DataError("no speech in any utterance", path=decisions)
    write_data_dir(Path(out_dir), segments)
    write_cuts(out_dir)
    return len(segments)
