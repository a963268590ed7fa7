"""Whether the text files of a data directory are right and agree, as Kaldi's validate_data_dir.sh has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from svtk.data import END_TOLERANCE
from svtk.kaldi.data_files import DATA_FILES, NOT_TEXT, ODD_ID, DataFile, DataFiles, durations_in
from svtk.prepare.problems import Problems

__all__ = ["DURATION_TOLERANCE", "Contents", "check_files", "contents_of", "segments_outside"]

#: seconds by which durations may differ that were found in different ways (of samples, of frames, rounded)
DURATION_TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the files say.

    Attributes:
        utt2spk: speaker by utterance.
        spans: recording, start and end (seconds; None: the end of the recording) by utterance.
        wavs: path or pipe by recording.
    """

    utt2spk: dict[str, str]
    spans: dict[str, tuple[str, float, float | None]]
    wavs: dict[str, str]

    @property
    def recordings(self) -> set[str]:
        return {recording for recording, _, _ in self.spans.values()}


def contents_of(files: DataFiles) -> Contents:
    """The contents of files that may be wrong: malformed lines are left out."""

    def valid(name: str) -> dict[str, str]:
        return files[name].valid() if name in files else {}

    utt2spk = valid("utt2spk")
    spans: dict[str, tuple[str, float, float | None]] = {utt: (utt, 0.0, None) for utt in utt2spk}
    if "segments" in files:
        spans = {}
        for utt, value in valid("segments").items():
            recording, start, end = value.split()
            spans[utt] = recording, float(start), None if float(end) == -1 else float(end)
    return Contents(utt2spk, spans, valid("wav.scp"))


def check_files(path: Path, files: DataFiles, problems: Problems, *, spk_sort: bool = True, wav: bool = True) -> None:
    """Add what is wrong with the files of a data directory to *problems*.

    Every file is sorted under ``LC_ALL=C``, no id stands twice, lines are well formed, and files about the same
    things hold the same ids; spk2utt is the inverse of utt2spk; segments lie within their recordings and
    durations agree. Files that are absent are not asked for, but for utt2spk, spk2utt and wav.scp.

    Args:
        path: the data directory, for messages.
        files: what :func:`svtk.kaldi.data_files.read_data_files` gave.
        problems: gets what is found.
        spk_sort: utt2spk sorted by utterance must be sorted by speaker, too.
        wav: wav.scp must be there.
    """
    _Check(path, files, problems).all(spk_sort, wav)


class _Check:
    def __init__(self, path: Path, files: DataFiles, problems: Problems):
        self.path, self.files, self.problems = path, files, problems
        self.fix = f"svtk fix-data {path}"
        self.contents = contents_of(files)

    def add(self, name: str, what: str, line: int | None, found: str, mend: str, *, is_fixable: bool = False) -> None:
        place = f"{self.path / name}:" + ("" if line is None else f"{line}:")
        is_fixable = is_fixable or (name in DATA_FILES and DATA_FILES[name].can_be_remade)
        self.problems.add(name, what, f"{place} {found}".rstrip(), mend, is_fixable=is_fixable)

    def all(self, spk_sort: bool, wav: bool) -> None:
        self.required(wav)
        for file in self.files.values():
            self.lines(file)
        if "utt2spk" not in self.files:
            return
        self.ids()
        self.spk2utt()
        if spk_sort:
            self.spk_sort()
        self.durations()

    def required(self, wav: bool) -> None:
        if "utt2spk" not in self.files:
            self.add("utt2spk", "no such file", None, "", "make it: 'UTT SPK' lines")
        elif not any(self.files["utt2spk"].keys):
            self.add("utt2spk", "no utterances", None, "", "make it: 'UTT SPK' lines")
        if "spk2utt" not in self.files:
            self.add("spk2utt", "no such file", None, "", self.fix)
        if "wav.scp" not in self.files and (wav or "segments" in self.files):
            mend = "make it: 'RECORDING FILE' lines; or, if there is to be none, --no-wav and no segments"
            self.add("wav.scp", "no such file", None, "", mend)

    def lines(self, file: DataFile) -> None:
        """Each line for itself, their order, and lines of the same id."""
        for number, what in file.faults:
            is_fixable = what not in (NOT_TEXT, ODD_ID)
            self.add(file.name, what, number, "", self.fix if is_fixable else "rewrite it", is_fixable=is_fixable)
        first: dict[str, tuple[int, str]] = {}
        previous = ""
        for number, (key, value) in enumerate(zip(file.keys, file.values, strict=True), 1):
            if not key:
                continue
            if not file.kind.is_valid(value):
                found = f"found {f'{key} {value}'.strip()[:80]!r}; expected {file.kind.line!r}"
                self.add(file.name, "malformed line", number, found, "correct or remove it")
            if key < previous:
                found = f"{key!r} stands after {previous!r}"
                self.add(file.name, "not sorted under LC_ALL=C", number, found, self.fix, is_fixable=True)
            previous = key
            line, other = first.setdefault(key, (number, value))
            if line != number and other == value:
                self.add(file.name, "a line twice", number, f"as line {line}: {key!r}", self.fix, is_fixable=True)
            elif line != number:
                found = f"{key!r} is {value[:40]!r} here, {other[:40]!r} in line {line}"
                self.add(file.name, "an id with two values", number, found, "keep the right one of the two lines")

    def ids(self) -> None:
        """Files about utterances, speakers and recordings hold all of them, and no others."""
        wanted = {
            "utt": ("utterances", "utt2spk", self.files["utt2spk"].map()),
            "spk": ("speakers", "utt2spk", set(self.contents.utt2spk.values())),
            "recording": (
                "recordings",
                "segments" if "segments" in self.files else "utt2spk",
                self.contents.recordings,
            ),
        }
        for name, file in self.files.items():
            nouns, source, keys = wanted[file.kind.key]
            if name in (source, "spk2utt"):
                continue
            present = set(file.keys)
            mend = f"add it, or drop it from all files by {self.fix}"
            if file.kind.can_be_remade:
                mend = f"add it, or remove the file, or {self.fix}"
            for key in sorted(key for key in keys if key not in present):
                self.add(name, f"lacks {nouns} of {source}", None, repr(key), mend, is_fixable=True)
            for number, key in enumerate(file.keys, 1):
                if key and key not in keys:
                    self.add(name, f"has {nouns} that {source} lacks", number, repr(key), self.fix, is_fixable=True)

    def spk2utt(self) -> None:
        """spk2utt is what Kaldi's utt2spk_to_spk2utt.pl makes of utt2spk."""
        if "spk2utt" not in self.files:
            return
        expected: dict[str, list[str]] = {}
        for utt, spk in sorted(self.contents.utt2spk.items()):
            expected.setdefault(spk, []).append(utt)
        file = self.files["spk2utt"]
        for number, (spk, value) in enumerate(zip(file.keys, file.values, strict=True), 1):
            if spk and value.split() != expected.get(spk):
                found = set(value.split()) ^ set(expected.get(spk, ()))
                which = f", as to {min(found)!r}" if found else " in the order of utterances"
                self.add("spk2utt", "does not match utt2spk", number, f"{spk!r} differs{which}", self.fix)
        for spk in expected.keys() - set(file.keys):
            self.add("spk2utt", "does not match utt2spk", None, f"{spk!r} is missing", self.fix)

    def spk_sort(self) -> None:
        """Sorted by utterance, utt2spk is sorted by speaker: tools that read speaker by speaker rely on it."""
        previous, other = "", ""
        for utt, spk in sorted(self.contents.utt2spk.items()):
            if spk < previous:
                self.add(
                    "utt2spk",
                    "sorted by utterance it is not sorted by speaker",
                    None,
                    f"{utt!r} of {spk!r} comes after {other!r} of {previous!r}",
                    "begin each utterance's id with its speaker's and '-', or say --no-spk-sort (svtk needs no order)",
                )
            previous, other = spk, utt

    def durations(self) -> None:
        """utt2dur, reco2dur and segments agree."""
        reco2dur, utt2dur = durations_in(self.files, "reco2dur"), durations_in(self.files, "utt2dur")
        lines = {name: file.line_numbers() for name, file in self.files.items() if name in ("segments", "utt2dur")}
        outside = set()
        for utt, found in segments_outside(self.contents, reco2dur):
            outside.add(utt)
            mend = "correct the segment, or reco2dur (svtk validate-data --check-audio tells which is wrong)"
            what = "a segment that is not within its recording"
            self.add("segments", what, lines["segments"][utt], found, mend)
        for utt, (recording, start, end) in self.contents.spans.items():
            whole, own = reco2dur.get(recording), utt2dur.get(utt)
            if utt not in outside and own is not None and (end is not None or whole is not None):
                expected = (whole if end is None else end if whole is None else min(end, whole)) - start
                if abs(own - expected) > DURATION_TOLERANCE:
                    source = "reco2dur" if end is None else "segments"
                    found = f"{utt!r} has {own:.9g} s, by {source} {expected:.9g} s"
                    mend = "remove utt2dur if it is the wrong one (svtk validate-data --check-audio tells)"
                    self.add("utt2dur", "another duration", lines["utt2dur"][utt], found, mend)


def segments_outside(contents: Contents, durations: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield the utterances that are not within their recordings (seconds by recording), with words for it."""
    for utt, (recording, start, end) in contents.spans.items():
        whole = durations.get(recording)
        if whole is not None and (start >= whole or (end is not None and end > whole + END_TOLERANCE)):
            span = f"{start:.9g} to {-1 if end is None else end:.9g} s"
            yield utt, f"{utt!r} is {span} of {recording!r}, which has {whole:.9g} s"
