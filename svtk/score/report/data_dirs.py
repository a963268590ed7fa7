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
    """The utterances of each data directory, by key."""

    utterances: dict[Path, dict[str, Utterance]]

    @classmethod
    def read(cls, paths: Sequence[str]) -> DataDirs:
        """Read data directories.

        Raises:
            DataError: as :func:`read_data_dir`.
        """
        return cls({Path(path): {u.utt: u for u in read_data_dir(path).utterances} for path in paths})

    def of_trials(self, keys: Sequence[str]) -> Path | None:
        """The first data directory that has all *keys*, of utterances or, as of enrolment models, speakers."""
        for path, utterances in self.utterances.items():
            known = {*utterances, *(utterance.spk for utterance in utterances.values())}
            if known.issuperset(keys):
                return path
        return None

    def audio_link(self, key: str, page_dir: Path) -> str | None:
        """A URL of the utterance's audio, relative to the page's directory; None where it is no file of its own."""
        utterance = next((utterances[key] for utterances in self.utterances.values() if key in utterances), None)
        if utterance is None or parse_rxfilename(utterance.wav).kind != "file" or not os.path.isfile(utterance.wav):
            return None
        link = quote(os.path.relpath(os.path.abspath(utterance.wav), page_dir.resolve()))
        if utterance.end is not None or utterance.start:  # a part of the recording, by the Media Fragments standard
            link += f"#t={utterance.start:g}" + ("" if utterance.end is None else f",{utterance.end:g}")
        return link
