"""Check a data directory: its Kaldi files, its manifest, trial lists over it and, when asked, all of its audio."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from svtk.data.manifest import MANIFEST, is_current
from svtk.kaldi.data_files import DataFiles, durations_in, read_data_files
from svtk.kaldi.text import refuse_irregular_file
from svtk.prepare.check_audio import check_audio as decode_all
from svtk.prepare.check_files import check_files, contents_of
from svtk.prepare.check_manifest import check_manifest
from svtk.prepare.check_trials import check_trials
from svtk.prepare.problems import Problems

__all__ = ["Validation", "validate_data"]


@dataclasses.dataclass(frozen=True)
class Validation:
    """What was found: problems, notes on what is no problem but good to know, and sizes (hours None: unknown)."""

    path: Path
    problems: Problems
    notes: list[str]
    num_utts: int
    num_spks: int
    hours: float | None

    def summary(self) -> str:
        """One line: what a valid directory holds."""
        hours = "" if self.hours is None else f", {self.hours:.2f} hours"
        return f"{self.path}: {self.num_utts} utterances, {self.num_spks} speakers{hours}: valid"


def validate_data(
    data_dir: str | os.PathLike,
    *,
    trials: Sequence[str | os.PathLike] = (),
    check_audio: bool = False,
    num_workers: int | None = None,
    spk_sort: bool = True,
    wav: bool = True,
) -> Validation:
    """Find all that is wrong with a data directory; nothing is written.

    What Kaldi's validate_data_dir.sh checks, of those of its files that are there (feats.scp and text need not
    be), and: the manifest, durations against each other, trials, audio.

    Args:
        data_dir: the data directory.
        trials: trial lists over its utterances.
        check_audio: decode every recording.
        num_workers: processes that decode; None: as many as processors.
        spk_sort: insist on an utt2spk that is sorted by speaker when it is sorted by utterance.
        wav: insist on wav.scp.

    Raises:
        DataError: no such directory, or a file is no regular one or cannot be read.
    """
    path = Path(data_dir)
    files = read_data_files(path)
    refuse_irregular_file(path / MANIFEST)
    problems, notes = Problems(), []
    check_files(path, files, problems, spk_sort=spk_sort, wav=wav)
    manifest: dict[str, int] = {}
    if (path / MANIFEST).exists():
        if is_current(path):
            manifest = check_manifest(path, files, problems)
        else:
            notes.append(f"{path / MANIFEST} is older than the Kaldi files; it will be made again")
    contents = contents_of(files)
    for name in trials:
        check_trials(name, contents.utt2spk, problems)
    durations: dict[str, float] = {}
    if check_audio and "wav.scp" in files:
        durations = decode_all(path, files, manifest, problems, num_workers)
    num_spks = len(set(contents.utt2spk.values()))
    if num_spks == 1:
        notes.append(f"{path} has only one speaker: nothing can be trained on it")
    return Validation(path, problems, notes, len(contents.utt2spk), num_spks, _hours(files, durations))


def _hours(files: DataFiles, durations: dict[str, float]) -> float | None:
    """Of all utterances: by segments and the recordings' durations, by utt2dur, or unknown."""
    utt2dur, whole = durations_in(files, "utt2dur"), durations_in(files, "reco2dur") | durations
    seconds = 0.0
    for utt, (recording, start, end) in contents_of(files).spans.items():
        end = whole.get(recording) if end is None else end
        own = utt2dur.get(utt) if end is None else end - start
        if own is None:
            return None
        seconds += own
    return seconds / 3600
