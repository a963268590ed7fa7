"""Kaldi data directories: wav.scp, segments, utt2spk, spk2utt, utt2dur, spk2gender, as plain records."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.text import refuse_irregular_file, write_text

__all__ = ["DataDir", "Utterance", "read_data_dir", "read_map", "write_data_dir"]


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One utterance of a recording.

    ``wav`` is a path, ``path:offset`` or a pipe (``command |``); start, end and durations in seconds; end None:
    to the end of the recording.
    """

    utt: str
    spk: str
    wav: str
    recording: str
    start: float = 0.0
    end: float | None = None
    duration: float | None = None
    gender: str | None = None
    recording_duration: float | None = None


@dataclasses.dataclass(frozen=True)
class DataDir:
    """A data directory read and checked; utterances in the order of utt2spk."""

    path: Path
    utterances: list[Utterance]

    @property
    def utt2spk(self) -> dict[str, str]:
        return {u.utt: u.spk for u in self.utterances}


def read_map(path: Path, columns: str = "KEY VALUE") -> dict[str, str]:
    """Read ``key value...`` lines.

    Raises:
        DataError: a missing or no regular file, a line without a value, or a key that stands twice (with its line).
    """
    refuse_irregular_file(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", path=path, mend="prepare the data directory again") from error
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", path=path) from error
    result: dict[str, str] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        fields = line.split(None, 1)
        if len(fields) != 2:
            raise DataError("malformed line", path=path, line=number, found=repr(line), expected=repr(columns))
        if fields[0] in result:
            raise DataError(f"{fields[0]!r} stands twice", path=path, line=number, mend="keep one of the two lines")
        result[fields[0]] = fields[1].strip()
    return result


def _numbers(mapping: dict[str, str], path: Path) -> dict[str, float]:
    result = {}
    for number, (key, value) in enumerate(mapping.items(), 1):
        try:
            result[key] = float(value)
            if not 0 < result[key] < float("inf"):
                raise ValueError
        except ValueError:
            raise DataError("not a duration in seconds", path=path, line=number, found=repr(value)) from None
    return result


def read_data_dir(path: str | os.PathLike) -> DataDir:
    """Read a data directory and check that its files agree.

    ``segments`` is honoured; ``utt2dur``, ``reco2dur`` and ``spk2gender`` are used when present.

    Raises:
        DataError: a missing or malformed file, or files that disagree; names file and line.
    """
    path = Path(path)
    if not (path / "wav.scp").is_file():
        raise DataError(
            "not a Kaldi data directory", path=path, found="no wav.scp", mend="make it with svtk prepare-folder"
        )
    wavs = read_map(path / "wav.scp", "RECORDING WAV")
    utt2spk = read_map(path / "utt2spk", "UTT SPK")
    if not utt2spk:
        raise DataError("no utterances", path=path / "utt2spk")
    gender = read_map(path / "spk2gender", "SPK m|f") if (path / "spk2gender").exists() else {}
    durations: dict[str, float] = {}
    if (path / "utt2dur").exists():
        durations = _numbers(read_map(path / "utt2dur", "UTT SECONDS"), path / "utt2dur")
    reco2dur: dict[str, float] = {}
    if (path / "reco2dur").exists():
        reco2dur = _numbers(read_map(path / "reco2dur", "RECORDING SECONDS"), path / "reco2dur")
    segments_path = path / "segments"
    spans: dict[str, tuple[str, float, float | None]] = {}
    if segments_path.exists():
        for number, (utt, rest) in enumerate(read_map(segments_path, "UTT RECORDING START END").items(), 1):
            fields = rest.split()
            try:
                recording, start, end = fields[0], *map(float, fields[1:])
            except ValueError:
                raise DataError(
                    "malformed segment",
                    path=segments_path,
                    line=number,
                    found=repr(rest),
                    expected="'UTT RECORDING START END'",
                ) from None
            if end == -1:  # Kaldi's word for the end of the recording
                end = None
            if not (0 <= start < float("inf") if end is None else 0 <= start < end):
                raise DataError("a segment must have 0 <= start < end", path=segments_path, line=number, found=rest)
            if recording not in wavs:
                raise DataError(
                    f"recording {recording!r} is not in wav.scp",
                    path=segments_path,
                    line=number,
                    mend="add it to wav.scp",
                )
            spans[utt] = (recording, start, end)
        known, known_name = spans, "segments"
    else:
        spans = {reco: (reco, 0.0, None) for reco in wavs}
        known, known_name = wavs, "wav.scp"
    _agree(path, "utt2spk", utt2spk, known_name, known)
    if (path / "spk2utt").exists():
        listed: dict[str, str] = {}
        for number, (spk, utts) in enumerate(read_map(path / "spk2utt", "SPK UTT...").items(), 1):
            for utt in utts.split():
                if utt in listed or utt not in utt2spk:
                    what = f"{utt!r} stands twice" if utt in listed else f"{utt!r} is not in utt2spk"
                    raise DataError(what, path=path / "spk2utt", line=number, mend="remove it here")
                listed[utt] = spk
        _agree(path, "utt2spk", utt2spk, "spk2utt", listed)
        for number, (utt, spk) in enumerate(utt2spk.items(), 1):
            if listed[utt] != spk:
                raise DataError(
                    f"{utt!r} belongs to {spk!r} here, to {listed[utt]!r} in spk2utt",
                    path=path / "utt2spk",
                    line=number,
                )
    if durations:
        _agree(path, "utt2spk", utt2spk, "utt2dur", durations)
    utterances = []
    for utt, spk in utt2spk.items():
        reco, start, end = spans[utt]
        known = durations.get(utt), gender.get(spk), reco2dur.get(reco)
        utterances.append(Utterance(utt, spk, wavs[reco], reco, start, end, *known))
    return DataDir(path, utterances)


def _agree(path: Path, left_name: str, left: dict, right_name: str, right: dict) -> None:
    for number, key in enumerate(left, 1):
        if key not in right:
            raise DataError(
                f"{key!r} is not in {right_name}",
                path=path / left_name,
                line=number,
                mend=f"add it to {right_name} or remove it here",
            )
    for number, key in enumerate(right, 1):
        if key not in left:
            raise DataError(
                f"{key!r} is not in {left_name}",
                path=path / right_name,
                line=number,
                mend=f"add it to {left_name} or remove it here",
            )


def write_data_dir(path: str | os.PathLike, utterances: Iterable[Utterance]) -> DataDir:
    """Write a data directory, sorted as under ``LC_ALL=C``; wav.scp appears last.

    ``segments`` is written when any utterance is a part of its recording; ``utt2dur`` and
    ``spk2gender`` when known for all.

    Raises:
        DataError: no utterances, an id with white space, or the same id twice.
    """
    path = Path(path)
    utterances = sorted(utterances, key=lambda u: u.utt.encode())
    if not utterances:
        raise DataError("no utterances to write", path=path)
    for left, right in zip(utterances, utterances[1:], strict=False):
        if left.utt == right.utt:
            raise DataError(
                f"utterance {left.utt!r} stands twice",
                path=path,
                found=f"{left.wav} and {right.wav}",
                mend="rename one",
            )
    for u in utterances:
        for name in (u.utt, u.spk, u.recording):
            if not name or any(c.isspace() for c in name):
                raise DataError(
                    "an id may not hold white space", path=path, found=repr(name), mend="rename the file or folder"
                )
    wavs: dict[str, str] = {}
    for u in utterances:
        if wavs.setdefault(u.recording, u.wav) != u.wav:
            found = f"{wavs[u.recording]} and {u.wav}"
            raise DataError(f"recording {u.recording!r} has two files", path=path, found=found, mend="rename one")
    path.mkdir(parents=True, exist_ok=True)
    for name in ("wav.scp", "segments", "utt2dur", "spk2gender"):  # nothing of an earlier preparation may remain
        (path / name).unlink(missing_ok=True)
    spk2utt: dict[str, list[str]] = {}
    for u in utterances:
        spk2utt.setdefault(u.spk, []).append(u.utt)
    speakers = sorted(spk2utt, key=str.encode)
    write_text(path / "utt2spk", (f"{u.utt} {u.spk}" for u in utterances))
    write_text(path / "spk2utt", (f"{s} {' '.join(spk2utt[s])}" for s in speakers))
    if all(u.duration is not None for u in utterances):
        write_text(path / "utt2dur", (f"{u.utt} {u.duration:.6f}" for u in utterances))
    genders = {u.spk: u.gender for u in utterances}
    if all(genders.values()):
        write_text(path / "spk2gender", (f"{s} {genders[s]}" for s in speakers))
    if any(u.end is not None or u.start for u in utterances):
        ends = ("-1" if u.end is None else f"{u.end:.6f}" for u in utterances)
        spans = zip(utterances, ends, strict=True)
        write_text(path / "segments", (f"{u.utt} {u.recording} {u.start:.6f} {end}" for u, end in spans))
    write_text(path / "wav.scp", (f"{r} {wavs[r]}" for r in sorted(wavs, key=str.encode)))
    return DataDir(path, utterances)
