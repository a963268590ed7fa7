"""Kaldi data directories as Lhotse cuts; the manifest lives beside the Kaldi files as cuts.jsonl.gz."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from svtk.data import SAMPLE_RATE
from svtk.errors import AudioError, DataError
from svtk.kaldi.datadir import Utterance, read_data_dir

__all__ = ["Located", "load_cuts", "locate", "write_cuts"]


def _recording(utterance: Utterance, verified: bool = False) -> Recording:
    if verified and utterance.end is None and utterance.duration is not None:
        kind, source = (
            ("command", utterance.wav[:-1].strip()) if utterance.wav.endswith("|") else ("file", utterance.wav)
        )
        sources = [AudioSource(type=kind, channels=[0], source=source)]
        num_samples = round(utterance.duration * SAMPLE_RATE)
    elif utterance.wav.endswith("|"):
        sources = [AudioSource(type="command", channels=[0], source=utterance.wav[:-1].strip())]
        num_samples = None
        if utterance.end is None and utterance.duration is not None:
            num_samples = round(utterance.duration * SAMPLE_RATE)
        if num_samples is None:
            from svtk.data.audio import read_audio

            num_samples = len(read_audio(utterance.wav))
    else:
        import soundfile

        sources = [AudioSource(type="file", channels=[0], source=utterance.wav)]
        try:
            info = soundfile.info(utterance.wav)
        except (OSError, RuntimeError) as error:
            raise AudioError("cannot read audio", path=utterance.wav, found=str(error)) from error
        if info.samplerate != SAMPLE_RATE or info.channels != 1:
            raise AudioError(
                "wrong audio format",
                path=utterance.wav,
                found=f"{info.samplerate} Hz, {info.channels} channel(s)",
                expected="16000 Hz mono",
                mend="convert it, for example with svtk prepare-folder --convert",
            )
        if info.frames == 0:
            raise AudioError("empty audio", path=utterance.wav, mend="remove the utterance")
        num_samples = info.frames
    return Recording(utterance.recording, sources, SAMPLE_RATE, num_samples, num_samples / SAMPLE_RATE)


def write_cuts(data_dir: str | os.PathLike, *, verified: bool = False) -> CutSet:
    """Make ``cuts.jsonl.gz`` from the Kaldi files of *data_dir*; one cut per utterance, in utt2spk's order.

    Args:
        data_dir: a Kaldi data directory.
        verified: utt2dur was just measured on the audio, which is known to be 16 kHz mono, so that whole
            recordings are not opened again.

    Returns:
        the cuts, read lazily from the file.

    Raises:
        DataError: the directory is inconsistent, or a segment ends after its recording.
        AudioError: an audio file is unreadable, empty or not 16 kHz mono.
    """
    data = read_data_dir(data_dir)
    recordings: dict[str, Recording] = {}
    final = data.path / "cuts.jsonl.gz"
    part = data.path / ".part-cuts.jsonl.gz"
    with CutSet.open_writer(part, overwrite=True) as writer:
        for u in data.utterances:
            recording = recordings.get(u.recording) or _recording(u, verified)
            if u.end is not None:  # other segments may share it
                recordings[u.recording] = recording
            end = recording.duration if u.end is None else u.end
            if end > recording.duration + 0.01:
                raise DataError(
                    f"segment {u.utt!r} ends at {end} s",
                    path=data.path / "segments",
                    expected=f"at most {recording.duration:.3f} s, the end of {u.recording!r}",
                )
            end = min(end, recording.duration)
            duration = round(end - u.start, 8)
            supervision = SupervisionSegment(u.utt, recording.id, 0.0, duration, 0, speaker=u.spk, gender=u.gender)
            writer.write(MonoCut(u.utt, u.start, duration, 0, [supervision], recording=recording))
    os.replace(part, final)
    return CutSet.from_file(final)


def load_cuts(data_dir: str | os.PathLike) -> CutSet:
    """The cuts of a data directory, one per utterance; made when missing or older than the Kaldi files.

    Raises:
        DataError: as :func:`write_cuts`; also a manifest that is damaged.
        AudioError: as :func:`write_cuts`.
    """
    path = Path(data_dir)
    manifest = path / "cuts.jsonl.gz"
    sources = [path / name for name in ("wav.scp", "segments", "utt2spk", "utt2dur", "spk2gender")]
    if manifest.exists() and all(not s.exists() or s.stat().st_mtime <= manifest.stat().st_mtime for s in sources):
        try:
            return CutSet.from_file(manifest).to_eager()
        except Exception as error:  # gzip, JSON and lhotse each fail in their own way
            raise DataError(
                f"damaged manifest: {type(error).__name__}: {error}", path=manifest, mend="remove it; it is made again"
            ) from error
    return write_cuts(path).to_eager()


@dataclasses.dataclass(frozen=True)
class Located:
    """Where the audio of a cut lies: ``wav`` is a path or a pipe; start and length in samples."""

    utt: str
    spk: str | None
    wav: str
    start: int
    num_samples: int


def locate(cut: MonoCut) -> Located:
    """The audio behind a cut, for :func:`svtk.data.audio.read_audio`."""
    source = cut.recording.sources[0]
    wav = f"{source.source} |" if source.type == "command" else source.source
    spk = cut.supervisions[0].speaker if cut.supervisions else None
    return Located(cut.id, spk, wav, round(cut.start * SAMPLE_RATE), cut.num_samples)
