"""What data directories know of the utterances of trials: speaker, sex, duration, and where their audio lies."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from svtk.kaldi.datadir import Utterance, read_data_dir
from svtk.kaldi.specifiers import parse_rxfilename

__all__ = ["DataDirs"]


@dataclasses.dataclass(frozen=True)
class DataDirs:
    """Utterances of all data directories, by key; the first directory that has a key counts."""

    utterances: dict[str, Utterance]

    @classmethod
    def read(cls, paths: Sequence[str]) -> DataDirs:
        """Read data directories.

        Raises:
            DataError: as :func:`read_data_dir`.
        """
        utterances: dict[str, Utterance] = {}
        for path in paths:
            for utterance in read_data_dir(path).utterances:
                utterances.setdefault(utterance.utt, utterance)
        return cls(utterances)

    def audio_link(self, key: str, page_dir: Path) -> str | None:
        """A URL of the utterance's audio, relative to the page's directory; None where it is no file of its own."""
        utterance = self.utterances.get(key)
        if utterance is None or parse_rxfilename(utterance.wav).kind != "file" or not os.path.isfile(utterance.wav):
            return None
        link = quote(os.path.relpath(os.path.abspath(utterance.wav), page_dir.resolve()))
        if utterance.end is not None or utterance.start:  # a part of the recording, by the Media Fragments standard
            link += f"#t={utterance.start:g}" + ("" if utterance.end is None else f",{utterance.end:g}")
        return link
