"""Whether a manifest is that of its Kaldi files, told by reading all side by side: a look that takes no memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.audio import is_pipe
from svtk.data.utterances import Located, Utterances
from svtk.kaldi.text import refuse_irregular_file

__all__ = ["agree_in_order", "is_as_said"]


def _canonical(wav: str) -> str:
    """A line of wav.scp as a manifest gives it back."""
    return f"{wav.rstrip()[:-1].strip()} |" if is_pipe(wav) else wav


def is_as_said(item: Located, wav: str, start: float, end: float | None) -> bool:
    """Whether this is where the Kaldi files say that the utterance lies; start and end in seconds."""
    is_as_long = end is None or abs(item.num_samples / SAMPLE_RATE - (end - start)) <= 2 * END_TOLERANCE
    return is_as_long and item.start == round(start * SAMPLE_RATE) and item.wav == _canonical(wav)


def agree_in_order(path: Path, utterances: Utterances) -> bool:
    """Whether the Kaldi files in *path*, all in one rising order, are right and say the same as *utterances*.

    In another order they may still agree: that takes all of them in memory to tell.

    Raises:
        DataError: what should be a file is none.
    """
    there = {name for name in (*_READ, "segments", "spk2gender", "reco2dur") if (path / name).exists()}
    for name in there:
        refuse_irregular_file(path / name)
    listed = {name: _READ[name](path / name) for name in _READ if name in there}
    if "segments" in there:
        listed["wav.scp"] = _segments(path)
    try:
        for name in there & {"spk2gender", "reco2dur"}:
            if not all(name == "spk2gender" or _is_duration(value) for _, value in _rising(path / name)):
                return False
        last = ""
        for item, *found in zip_longest(utterances, *listed.values()):
            if item is None or None in found or item.utt <= last or any(key != item.utt for key, _ in found):
                return False
            value = dict(zip(listed, (value for _, value in found), strict=True))
            if item.spk != value["utt2spk"] or value.get("spk2utt", item.spk) != item.spk:
                return False
            if not is_as_said(item, *value["wav.scp"]) or not _is_duration(value.get("utt2dur", 1)):
                return False
            last = item.utt
    except (OSError, ValueError, KeyError):  # also not UTF-8, or a malformed line: who reads with care tells where
        return False
    return True


def _is_duration(value: str | float) -> bool:
    return 0 < float(value) < math.inf


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, value = line.split(None, 1)
            yield key, value.strip()


def _rising(path: Path) -> Iterator[tuple[str, str]]:
    """Lines; ValueError where they are not in rising order of their keys."""
    last = ""
    for key, value in _lines(path):
        if key <= last:
            raise ValueError
        yield key, value
        last = key


def _wholes(path: Path) -> Iterator[tuple[str, tuple[str, float, None]]]:
    for recording, wav in _lines(path):
        yield recording, (wav, 0.0, None)


def _segments(path: Path) -> Iterator[tuple[str, tuple[str, float, float | None]]]:
    """Each utterance of segments with its recording's wav, start and end."""
    wavs = _rising(path / "wav.scp")
    recording, wav = next(wavs, ("", None))
    for utt, rest in _lines(path / "segments"):
        wanted, *times = rest.split()
        start, end = map(float, times)
        while recording < wanted:
            recording, wav = next(wavs, (wanted, None))
        if recording != wanted or wav is None or not 0 <= start < math.inf or (end != -1 and start >= end):
            raise ValueError
        yield utt, (wav, start, None if end == -1 else end)
    for _ in wavs:  # as long as they are lines
        pass


def _spk2utt(path: Path) -> Iterator[tuple[str, str]]:
    """Each utterance and its speaker, in the order of spk2utt."""
    for spk, utts in _lines(path):
        for utt in utts.split():
            yield utt, spk


_READ = {"utt2spk": _lines, "wav.scp": _wholes, "utt2dur": _lines, "spk2utt": _spk2utt}
