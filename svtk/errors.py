"""Errors a user may see, drawn as a family.

::

    SvtkError                 anything svtk reports on purpose: one line, exit code 1
    ├── ConfigError           a configuration file, a --set or a component name is wrong
    ├── DataError             a data directory, table, trial list or score file is wrong
    │   └── AudioError        an audio file cannot be read or has the wrong format
    └── ModelError            a model directory or checkpoint does not fit

A message says where, what was found, what was expected and how to mend it::

    >>> str(DataError("bad trial", path="trials", line=3, found="2 fields",
    ...               expected="'enroll test [target|nontarget]'", mend="add the missing field"))
    "trials:3: bad trial; found 2 fields; expected 'enroll test [target|nontarget]'. To mend: add the missing field"
"""

from __future__ import annotations

import os

__all__ = ["AudioError", "ConfigError", "DataError", "ModelError", "SvtkError"]


class SvtkError(Exception):
    """A failure with a place, a finding, an expectation and a remedy, printed as one line.

    Args:
        what: the failure itself, a short clause.
        path: file or directory at fault.
        line: line in that file, counted from 1.
        found: what was there.
        expected: what should have been there.
        mend: what the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | os.PathLike | None = None,
        line: int | None = None,
        found: str | None = None,
        expected: str | None = None,
        mend: str | None = None,
    ):
        self.what, self.path, self.line = what, path, line
        self.found, self.expected, self.mend = found, expected, mend
        place = "" if path is None else f"{os.fspath(path)}:" + ("" if line is None else f"{line}:") + " "
        text = f"{place}{what}"
        if found is not None:
            text += f"; found {found}"
        if expected is not None:
            text += f"; expected {expected}"
        if mend is not None:
            text += f". To mend: {mend}"
        super().__init__(" ".join(text.split()))


class ConfigError(SvtkError):
    """A configuration key, value or component name is wrong."""


class DataError(SvtkError):
    """A data directory, table, trial list or score file is wrong."""


class AudioError(DataError):
    """An audio file cannot be read, is empty, or has an unexpected rate or channel count."""


class ModelError(SvtkError):
    """A model directory or checkpoint is missing, damaged or of another architecture."""
