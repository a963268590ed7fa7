"""Whether a manifest is that of its Kaldi files, told by reading all side by side: a look that takes no memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from svtk.data.audio import is_pipe
from svtk.data.utterances import Utterances
from svtk.kaldi.text import refuse_irregular_file

__all__ = ["agree_in_order", "canonical"]


def canonical(wav: str) -> str:
    """A line of wav.scp as a manifest gives it back."""
    return f"{wav.rstrip()[:-1].strip()} |" if is_pipe(wav) else wav


def agree_in_order(path: Path, utterances: Utterances) -> bool:
    """Whether the Kaldi files in *path* are whole recordings in one rising order, right, and the same as *utterances*.

    Where this is not so, they may still agree: there may be segments, or another order.

    Raises:
        DataError: what should be a file is none.
    """
    if (path / "segments").exists() or (path / "reco2dur").exists() or utterances.starts.any():
        return False
    names = ["utt2spk", "wav.scp"] + [name for name in ("utt2dur", "spk2utt") if (path / name).exists()]
    for name in (*names, "spk2gender"):
        if (path / name).exists():
            refuse_irregular_file(path / name)
    try:
        if (path / "spk2gender").exists() and len({spk for spk, _ in _lines(path / "spk2gender")}) != sum(
            1 for _ in _lines(path / "spk2gender")
        ):
            return False
        listed = (_spk2utt if name == "spk2utt" else _lines for name in names)
        files = [read(path / name) for name, read in zip(names, listed, strict=True)]
        last = ""
        for item, *found in zip_longest(utterances, *files):
            if item is None or None in found or item.utt <= last or any(key != item.utt for key, _ in found):
                return False
            value = dict(zip(names, (value for _, value in found), strict=True))
            if item.spk != value["utt2spk"] or value.get("spk2utt", item.spk) != item.spk:
                return False
            if item.wav != canonical(value["wav.scp"]) or not 0 < float(value.get("utt2dur", 1)) < math.inf:
                return False
            last = item.utt
    except (OSError, ValueError):  # also not UTF-8, or a malformed line: who reads the files with care tells where
        return False
    return True


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            key, value = line.split(None, 1)
            yield key, value.strip()


def _spk2utt(path: Path) -> Iterator[tuple[str, str]]:
    """Each utterance and its speaker, in the order of spk2utt."""
    for spk, utts in _lines(path):
        for utt in utts.split():
            yield utt, spk
