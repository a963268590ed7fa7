"""Whether the Lhotse manifest of a data directory says what its Kaldi files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.manifest import MANIFEST, manifest_rows
from svtk.errors import DataError
from svtk.kaldi.data_files import DataFiles, durations_in
from svtk.prepare.check_files import DURATION_TOLERANCE, contents_of
from svtk.prepare.problems import Problems

__all__ = ["check_manifest"]

_MEND = "remove the manifest; it is made again"


def check_manifest(path: Path, files: DataFiles, problems: Problems) -> dict[str, int]:
    """Compare the manifest, line by line, with the Kaldi files; add differences to *problems*.

    Args:
        path: the data directory, which has a manifest.
        files: its Kaldi files.
        problems: gets what is found.

    Returns:
        samples by recording, as the manifest says.
    """
    contents = contents_of(files)
    durations = durations_in(files, "utt2dur")
    num_samples: dict[str, int] = {}
    seen: set[str] = set()

    def add(what: str, line: int | None, found: str) -> None:
        place = f"{path / MANIFEST}:" + ("" if line is None else f"{line}:")
        problems.add(MANIFEST, what, f"{place} {found}", _MEND, is_fixable=True)

    try:
        for number, row in enumerate(manifest_rows(path), 1):
            try:
                cut = _Cut(row)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                add("not a cut that svtk can use", number, f"{type(error).__name__}: {error}")
                continue
            utt = cut.utt
            if utt not in contents.spans or utt in seen:
                add("an utterance twice" if utt in seen else "an utterance that utt2spk lacks", number, repr(utt))
                continue
            seen.add(utt)
            num_samples[cut.recording] = cut.num_samples
            recording, start, end = contents.spans[utt]
            spk, wav = contents.utt2spk.get(utt), contents.wavs.get(recording, "").strip()
            if cut.recording != recording:
                add("another recording", number, f"{utt!r}: {cut.recording!r} here, {recording!r} in the Kaldi files")
            elif cut.wav != wav:
                add("another audio file", number, f"{utt!r}: {cut.wav!r} here, {wav!r} in wav.scp")
            if cut.spk != spk:
                add("another speaker", number, f"{utt!r}: {cut.spk!r} here, {spk!r} in utt2spk")
            duration, tolerance = durations.get(utt), DURATION_TOLERANCE
            if end is not None:
                duration, tolerance = end - start, 2 * END_TOLERANCE
            if abs(cut.start - start) > END_TOLERANCE or (
                duration is not None and abs(cut.duration - duration) > tolerance
            ):
                where = "segments" if "segments" in files else "utt2dur"
                here = f"from {cut.start:.9g} s and {cut.duration:.9g} s long here"
                there = f"{start:.9g}" + ("" if duration is None else f" and {duration:.9g} s long")
                found = f"{utt!r}: {here}, {there} in {where}"
                add("another start or duration", number, found)
    except DataError as error:
        add("a damaged file", error.line, error.what)
        return num_samples
    for utt in contents.spans:
        if utt not in seen:
            add("no line for an utterance of utt2spk", None, repr(utt))
    return num_samples


class _Cut:
    """The parts of a manifest's line that svtk uses; raises whatever a line of another kind leads to."""

    def __init__(self, row: dict[str, Any]):
        recording = row["recording"]
        [source] = recording["sources"]
        speakers = [supervision.get("speaker") for supervision in row["supervisions"]]
        if row["type"] != "MonoCut":
            raise ValueError(f"a {row['type']}, not a MonoCut")
        if recording["sampling_rate"] != SAMPLE_RATE:
            raise ValueError(f"{recording['sampling_rate']} Hz, not {SAMPLE_RATE}")
        if source["type"] not in ("file", "command"):
            raise ValueError(f"audio of type {source['type']!r}, not file or command")
        if len(speakers) > 1 or recording.get("transforms"):
            raise ValueError("several supervisions or a transformed recording")
        self.utt, self.recording = str(row["id"]), str(recording["id"])
        self.spk = speakers[0] if speakers else None
        self.start, self.duration = float(row["start"]), float(row["duration"])
        self.num_samples = int(recording["num_samples"])
        self.wav = str(source["source"]) + (" |" if source["type"] == "command" else "")
