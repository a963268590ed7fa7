"""What becomes of lines whose keys stand in no table: an error that counts them, or they are left out and listed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.columns import Pairs
from svtk.kaldi.text import write_text

__all__ = ["SIDES", "MissingKeys"]

log = logging.getLogger(__name__)

#: The sides of a pair of keys: their names in files, and in messages.
SIDES = {"enroll": "enrolment", "test": "test"}


class MissingKeys:
    """The keys of a long file that stand in no table, gathered from its blocks in their order.

    Args:
        path: the file whose lines name keys.
        tables: side (0, enrolment, or 1, test) and name of each table that keys are looked up in.
        mend: how to get what is missing, for messages.
        policy: ``error`` or ``skip``.
    """

    def __init__(self, path: str, tables: Sequence[tuple[int, str]], mend: str, policy: str = "error"):
        self._path, self._tables, self._mend, self._skip = path, tables, mend, policy == "skip"
        self._lines: list[dict[str, int]] = [{} for _ in tables]  # of each table: key → the first line that names it
        self._num_skipped = 0

    def of(self, pairs: Pairs, rows: Sequence[np.ndarray], first: int) -> tuple[np.ndarray, list[dict[str, int]]]:
        """Which pairs are in all tables, bool (K,), and the keys that are not, with the lines they first stand in.

        Args:
            pairs: K pairs, of which *first* is the first one's line.
            rows: for each table integers (K,), below 0 where it lacks the key.
        """
        there = np.logical_and.reduce([found >= 0 for found in rows])
        absent: list[dict[str, int]] = [{} for _ in rows]
        for lines, found, (side, _) in zip(absent, rows, self._tables, strict=True):
            for number in np.flatnonzero(found < 0).tolist():
                lines.setdefault(pairs[number][side], first + number)
        return there, absent

    def add(self, absent: Sequence[dict[str, int]], num_skipped: int) -> bool:
        """Take note of a block's missing keys and of how many lines they cost; False: nothing more is to be written."""
        for lines, found in zip(self._lines, absent, strict=True):
            for key, line in found.items():
                lines.setdefault(key, line)
        self._num_skipped += num_skipped
        return self._skip or not any(self._lines)

    def conclude(self, num_left: int, list_file: str | None = None) -> None:
        """Tell what was missing, after the last block.

        Args:
            num_left: how many lines are not left out.
            list_file: wxfilename to write ``KEY enroll|test`` lines to.

        Raises:
            DataError: keys are missing and the policy is ``error``, or nothing is left.
        """
        found = [(lines, *table) for lines, table in zip(self._lines, self._tables, strict=True) if lines]
        sides = list(SIDES)
        for lines, side, name in found:
            what = f"{len(lines)} {SIDES[sides[side]]} key(s) are not in {name}"
            examples = ", ".join(map(repr, list(lines)[:3])) + (" ..." if len(lines) > 3 else "")
            if not self._skip:
                mend = f"{self._mend}, or leave their trials out with --missing skip"
                raise DataError(what, path=self._path, line=next(iter(lines.values())), found=examples, mend=mend)
            log.warning("%s: %s: %s", self._path, what, examples)
        if self._num_skipped:
            log.warning("%s: %d of %d trials are left out", self._path, self._num_skipped, self._num_skipped + num_left)
        if num_left == 0:
            raise DataError("no trial is left", path=self._path, expected=f"keys of {self._tables[0][1]}")
        if list_file is not None:
            write_text(list_file, dict.fromkeys(f"{key} {sides[side]}" for lines, side, _ in found for key in lines))
