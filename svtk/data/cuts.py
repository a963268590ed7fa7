"""Kaldi data directories as Lhotse cuts; the manifest lives beside the Kaldi files as cuts.jsonl.gz."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.serialization import deserialize_item

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.agreement import agree_in_order, is_as_said
from svtk.data.audio import count_samples, is_pipe
from svtk.data.manifest import MANIFEST, columns_of, is_current, manifest_blocks
from svtk.data.speech_spans import read_speech
from svtk.data.utterances import Located, Utterances
from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir, Utterance, read_data_dir
from svtk.progress import progress

__all__ = ["load_cuts", "load_utterances", "locate", "write_cuts"]


def _recording(utterance: Utterance, verified: bool) -> Recording:
    wav, duration = utterance.wav, None
    if is_pipe(wav):
        duration = utterance.recording_duration
    if duration is None and utterance.start == 0 and utterance.end is None and (verified or is_pipe(wav)):
        duration = utterance.duration
    num_samples = count_samples(wav, utterance.utt) if duration is None else round(duration * SAMPLE_RATE)
    kind, name = _source(wav)
    sources = [AudioSource(type=kind, channels=[0], source=name)]
    return Recording(utterance.recording, sources, SAMPLE_RATE, num_samples, num_samples / SAMPLE_RATE)


def _make_cuts(data: DataDir, verified: bool = False) -> Iterator[MonoCut]:
    """The cuts of the Kaldi files; raises as :func:`write_cuts`."""
    recordings: dict[str, Recording] = {}
    for u in progress(data.utterances, f"manifest of {data.path}"):
        recording = recordings.get(u.recording) or _recording(u, verified)
        if u.start or u.end is not None:  # other segments may share it
            recordings[u.recording] = recording
        end = recording.duration if u.end is None else u.end
        if end > recording.duration + END_TOLERANCE or u.start >= recording.duration:
            raise DataError(
                f"segment {u.utt!r} of {u.start:g} to {end:g} s is not within its recording",
                path=data.path / "segments",
                expected=f"at most {recording.duration:.3f} s, the end of {u.recording!r}",
                mend="see svtk validate-data --check-audio",
            )
        end = min(end, recording.duration)
        duration = round(end - u.start, 8)
        supervision = SupervisionSegment(u.utt, recording.id, 0.0, duration, 0, speaker=u.spk, gender=u.gender)
        yield MonoCut(u.utt, u.start, duration, 0, [supervision], recording=recording)


def write_cuts(data_dir: str | os.PathLike, *, verified: bool = False) -> CutSet:
    """Make ``cuts.jsonl.gz`` from the Kaldi files of *data_dir*; one cut per utterance, in utt2spk's order.

    A pipe's command is run only to learn a duration that neither reco2dur nor utt2dur tells. Entries of archives
    (``file.ark:offset``) stand in the manifest as they stand in wav.scp; Lhotse itself cannot read those.

    Args:
        data_dir: a Kaldi data directory.
        verified: utt2dur was just measured on the audio, which is known to be 16 kHz mono, so that whole
            recordings are not opened again.

    Returns:
        the cuts, read lazily from the file.

    Raises:
        DataError: the directory is inconsistent, or a segment is not within its recording.
        AudioError: an audio file is unreadable, empty or not 16 kHz mono.
    """
    data = read_data_dir(data_dir)
    final = data.path / MANIFEST
    part = data.path / f".part-{uuid.uuid4().hex}-{MANIFEST}"  # jobs of an array may all make it
    try:
        with CutSet.open_writer(part, overwrite=True) as writer:
            for cut in _make_cuts(data, verified):
                writer.write(cut)
        os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return CutSet.from_file(final)


def load_cuts(data_dir: str | os.PathLike) -> CutSet:
    """The cuts of a data directory, one per utterance, for Lhotse; :func:`load_utterances` takes far less of a big one.

    Raises:
        DataError, AudioError: as :func:`load_utterances`.
    """
    path = Path(data_dir)
    load_utterances(path)
    if is_current(path):
        return CutSet.from_file(path / MANIFEST).to_eager()
    return CutSet.from_cuts(_make_cuts(read_data_dir(path)))


def load_utterances(data_dir: str | os.PathLike, *, speech_only: bool = False) -> Utterances:
    """The utterances of a data directory by its manifest, which is made when missing or older than the Kaldi files.

    In a directory that may not be written to, it is made in memory only.

    Args:
        data_dir: a Kaldi data directory.
        speech_only: of each utterance only what is speech by ``vad.scp``.

    Raises:
        DataError: as :func:`write_cuts`; also a manifest that is damaged, holds other than windows into
            recordings of 16 kHz that are files or commands, or is of other data; or what
            :func:`svtk.data.speech_spans.read_speech` raises.
        AudioError: as :func:`write_cuts`.
    """
    utterances = _load(Path(data_dir))
    if speech_only:
        sizes = dict(zip(utterances.utts.to_pylist(), utterances.num_samples.tolist(), strict=True))
        utterances = utterances.speech_only(read_speech(data_dir, sizes))
    return utterances


def _load(path: Path) -> Utterances:
    if is_current(path):
        utterances = _read_manifest(path)
        _require_agreement(path, utterances)
        return utterances
    if path.is_dir() and not os.access(path, os.W_OK):
        logging.info("%s cannot be written to: its manifest is made in memory", path)
        return Utterances.of(map(locate, _make_cuts(read_data_dir(path))))
    write_cuts(path)
    return _read_manifest(path)


def _read_manifest(path: Path) -> Utterances:
    """The utterances of the manifest, in its order.

    Raises:
        DataError: it is damaged, or holds other cuts than svtk can use.
    """
    blocks: list[tuple] = []
    for number, block in manifest_blocks(path):
        blocks.append(columns_of(block) or _columns_by_lhotse(block, path / MANIFEST, number))
    if not blocks:
        return Utterances.of([])
    columns = list(zip(*blocks, strict=True))
    del blocks
    join = pa.concat_arrays, pa.concat_arrays, pa.concat_arrays, np.concatenate, np.concatenate
    utterances = Utterances(*(joined(columns.pop(0)) for joined in join))  # what was joined goes, before the next is
    pa.default_memory_pool().release_unused()
    return utterances


def _columns_by_lhotse(block: bytes, path: Path, first_line: int) -> tuple:
    """What :func:`svtk.data.manifest.columns_of` gives, line by line, of whatever Lhotse reads."""
    items = []
    for number, line in enumerate(block.splitlines(), first_line):
        try:
            cut = deserialize_item(json.loads(line))
        except Exception as error:  # JSON and lhotse each fail in their own way
            what = f"damaged manifest: {type(error).__name__}: {error}"
            raise DataError(what, path=path, line=number, mend="remove it; it is made again") from error
        if not _is_ours(cut):
            raise DataError(
                f"cut {getattr(cut, 'id', None)!r} cannot be used",
                path=path,
                line=number,
                expected="a MonoCut of at most one speaker into a 16 kHz recording that is a file or a command",
                mend="remove the manifest; it is made again",
            )
        items.append(locate(cut))
    rows = Utterances.of(items)
    spks = pa.array([item.spk for item in items], pa.large_string())
    return rows.utts, spks, rows.wavs, rows.starts, rows.num_samples


def _require_agreement(path: Path, utterances: Utterances) -> None:
    """Kaldi files that were put in place with their old times (rsync, ``cp -p``) do not look newer than the manifest.

    Raises:
        DataError: the manifest holds other utterances, speakers, audio or times than the Kaldi files.
    """
    if agree_in_order(path, utterances):
        return
    wanted = {u.utt: u for u in read_data_dir(path).utterances}
    what = None
    for item in utterances:
        u = wanted.pop(item.utt, None)
        if u is None or item.spk != u.spk or not is_as_said(item, u.wav, u.start, u.end):
            what = f"utterance {item.utt!r} is not in utt2spk, or not the same there"
            break
    if what is None and wanted:
        what = f"utterance {next(iter(wanted))!r} is missing"
    if what is not None:
        mend = "remove it, it is made again; svtk validate-data tells all differences"
        raise DataError(f"the manifest is not that of the Kaldi files: {what}", path=path / MANIFEST, mend=mend)


def _source(wav: str) -> tuple[str, str]:
    """Type and name of the source that stands for a line of wav.scp."""
    return ("command", wav.rstrip()[:-1].strip()) if is_pipe(wav) else ("file", wav)


def _is_ours(cut: object) -> bool:
    return (
        isinstance(cut, MonoCut)
        and cut.recording is not None
        and not cut.recording.transforms
        and cut.recording.sampling_rate == SAMPLE_RATE
        and len(cut.recording.sources) == 1
        and (cut.recording.sources[0].type == "command" or _is_file(cut.recording.sources[0]))
        and len(cut.supervisions) <= 1
    )


def _is_file(source: AudioSource) -> bool:
    return source.type == "file" and not is_pipe(source.source)


def locate(cut: MonoCut) -> Located:
    """The audio behind a cut, for :func:`svtk.data.audio.read_audio`."""
    source = cut.recording.sources[0]
    wav = f"{source.source} |" if source.type == "command" else source.source
    spk = cut.supervisions[0].speaker if cut.supervisions else None
    return Located(cut.id, spk, wav, round(cut.start * SAMPLE_RATE), cut.num_samples)
