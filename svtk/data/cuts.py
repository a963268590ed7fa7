"""Kaldi data directories as Lhotse cuts; the manifest lives beside the Kaldi files as cuts.jsonl.gz."""

from __future__ import annotations

import dataclasses
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.audio import Spliced, count_samples, is_pipe
from svtk.data.manifest import MANIFEST, is_current
from svtk.data.speech_spans import read_speech
from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir, Utterance, read_data_dir
from svtk.progress import progress

__all__ = ["Located", "load_cuts", "locate", "write_cuts"]

_SPEECH = "svtk_speech"  # what of a cut is speech: [(first sample, number of samples), ...]


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


def load_cuts(data_dir: str | os.PathLike, *, speech_only: bool = False) -> CutSet:
    """The cuts of a data directory, one per utterance.

    Its manifest is made when missing or older than the Kaldi files; in a directory that may not be written to,
    in memory only.

    Args:
        data_dir: a Kaldi data directory.
        speech_only: note in each cut which of its samples are speech by ``vad.scp``; :func:`locate` gives those alone.

    Raises:
        DataError: as :func:`write_cuts`; also a manifest that is damaged, holds other than windows into
            recordings of 16 kHz that are files or commands, or is of other data; or what
            :func:`svtk.data.speech_spans.read_speech` raises.
        AudioError: as :func:`write_cuts`.
    """
    cuts = _load(Path(data_dir))
    if speech_only:
        cuts = cuts.to_eager()
        speech = read_speech(data_dir, {cut.id: cut.num_samples for cut in cuts})
        for cut in cuts:
            cut.custom = {**(cut.custom or {}), _SPEECH: speech[cut.id]}
    return cuts


def _load(path: Path) -> CutSet:
    if is_current(path):
        try:
            cuts = CutSet.from_file(path / MANIFEST).to_eager()
        except Exception as error:  # gzip, JSON and lhotse each fail in their own way
            what = f"damaged manifest: {type(error).__name__}: {error}"
            raise DataError(what, path=path / MANIFEST, mend="remove it; it is made again") from error
        for number, cut in enumerate(cuts, 1):
            if not _is_ours(cut):
                raise DataError(
                    f"cut {getattr(cut, 'id', None)!r} cannot be used",
                    path=path / MANIFEST,
                    line=number,
                    expected="a MonoCut of at most one speaker into a 16 kHz recording that is a file or a command",
                    mend="remove the manifest; it is made again",
                )
        _require_agreement(path, cuts)
        return cuts
    if path.is_dir() and not os.access(path, os.W_OK):
        logging.info("%s cannot be written to: its manifest is made in memory", path)
        return CutSet.from_cuts(_make_cuts(read_data_dir(path)))
    return write_cuts(path).to_eager()


def _require_agreement(path: Path, cuts: CutSet) -> None:
    """Kaldi files that were put in place with their old times (rsync, ``cp -p``) do not look newer than the manifest.

    Raises:
        DataError: the manifest holds other utterances, speakers, audio or times than the Kaldi files.
    """
    wanted = {u.utt: u for u in read_data_dir(path).utterances}
    what = None
    for cut in cuts:
        u = wanted.pop(cut.id, None)
        if u is None or not _is_of(cut, u):
            what = f"utterance {cut.id!r} is not in utt2spk, or not the same there"
            break
    if what is None and wanted:
        what = f"utterance {next(iter(wanted))!r} is missing"
    if what is not None:
        mend = "remove it, it is made again; svtk validate-data tells all differences"
        raise DataError(f"the manifest is not that of the Kaldi files: {what}", path=path / MANIFEST, mend=mend)


def _is_of(cut: MonoCut, u: Utterance) -> bool:
    source = cut.recording.sources[0]
    spk = cut.supervisions[0].speaker if cut.supervisions else None
    is_as_long = u.end is None or abs(cut.duration - (u.end - u.start)) <= 2 * END_TOLERANCE
    is_there = is_as_long and round((cut.start - u.start) * SAMPLE_RATE) == 0
    return is_there and spk == u.spk and (source.type, source.source) == _source(u.wav)


def _source(wav: str) -> tuple[str, str]:
    """Type and name of the source that stands for a line of wav.scp."""
    return ("command", wav.rstrip()[:-1].strip()) if is_pipe(wav) else ("file", wav)


def _is_ours(cut: object) -> bool:
    return (
        isinstance(cut, MonoCut)
        and cut.recording is not None
        and not cut.recording.transforms
        and cut.recording.sampling_rate == SAMPLE_RATE
        and [source.type in ("file", "command") for source in cut.recording.sources] == [True]
        and len(cut.supervisions) <= 1
    )


@dataclasses.dataclass(frozen=True)
class Located:
    """Where the audio of a cut lies: ``wav`` is a path, a pipe, or parts of it; start and length in samples."""

    utt: str
    spk: str | None
    wav: str | Spliced
    start: int
    num_samples: int


def locate(cut: MonoCut) -> Located:
    """The audio behind a cut, for :func:`svtk.data.audio.read_audio`."""
    source = cut.recording.sources[0]
    wav = f"{source.source} |" if source.type == "command" else source.source
    spk = cut.supervisions[0].speaker if cut.supervisions else None
    start = round(cut.start * SAMPLE_RATE)
    speech = (cut.custom or {}).get(_SPEECH)
    if speech is not None and speech != [(0, cut.num_samples)]:
        parts = tuple((start + first, length) for first, length in speech)
        return Located(cut.id, spk, Spliced(wav, parts), 0, sum(length for _, length in parts))
    return Located(cut.id, spk, wav, start, cut.num_samples)
