"""The files of a data directory, line by line as they lie there, right or wrong: for checking and mending them.

:func:`svtk.kaldi.datadir.read_data_dir` is for using a directory, and stops at the first fault.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.text import refuse_irregular_file

__all__ = ["DATA_FILES", "NOT_TEXT", "ODD_ID", "DataFile", "DataFiles", "FileKind", "durations_in", "read_data_files"]

#: faults of a line's bytes that only its owner can mend
NOT_TEXT = "not UTF-8 text"
ODD_ID = "an id with a white space or control character that is not ASCII's"


def _words(count: int) -> Callable[[str], bool]:
    return lambda value: len(value.split()) == count


def _number(value: str, low: float = 0.0, high: float = math.inf) -> bool:
    try:
        return low < float(value) < high
    except ValueError:
        return False


def _span(value: str) -> bool:
    """``RECORDING START END`` with 0 <= START < END, or -1 for the end of the recording."""
    fields = value.split()
    try:
        start, end = map(float, fields[1:])
    except ValueError:
        return False
    return 0 <= start < math.inf and (end == -1 or start < end < math.inf)


@dataclasses.dataclass(frozen=True)
class FileKind:
    """What Kaldi says of a file: what its lines are keyed by (utt, spk or recording) and look like.

    ``is_valid`` looks at what follows the key. ``can_be_remade``: it only tells what the audio or the other
    files tell as well.
    """

    name: str
    key: str
    line: str
    is_valid: Callable[[str], bool] = bool
    can_be_remade: bool = False


#: the files that validate-data and fix-data know, as do Kaldi's validate_data_dir.sh and fix_data_dir.sh
DATA_FILES = {
    kind.name: kind
    for kind in (
        FileKind("utt2spk", "utt", "UTT SPK", _words(1)),
        FileKind("spk2utt", "spk", "SPK UTT...", can_be_remade=True),
        FileKind("wav.scp", "recording", "RECORDING FILE|COMMAND |", lambda value: value[:1] not in ("", "~")),
        FileKind("segments", "utt", "UTT RECORDING START END, 0 <= START < END", _span),
        FileKind("text", "utt", "UTT WORD...", lambda value: not {"<s>", "</s>", "#0"} & set(value.split())),
        FileKind("feats.scp", "utt", "UTT FILE:OFFSET"),
        FileKind("vad.scp", "utt", "UTT FILE:OFFSET"),
        FileKind("cmvn.scp", "spk", "SPK FILE:OFFSET"),
        FileKind("utt2dur", "utt", "UTT SECONDS", _number, can_be_remade=True),
        FileKind("reco2dur", "recording", "RECORDING SECONDS", _number, can_be_remade=True),
        FileKind("utt2num_frames", "utt", "UTT FRAMES", lambda v: v.isdecimal() and int(v) > 0, can_be_remade=True),
        FileKind("utt2lang", "utt", "UTT LANGUAGE", _words(1)),
        FileKind("utt2uniq", "utt", "UTT ORIGINAL_UTT", _words(1)),
        FileKind("utt2warp", "utt", "UTT FACTOR, between 0.5 and 1.5", lambda v: _number(v, 0.5, 1.5)),
        FileKind("spk2warp", "spk", "SPK FACTOR, between 0.5 and 1.5", lambda v: _number(v, 0.5, 1.5)),
        FileKind("spk2gender", "spk", "SPK m|f", lambda value: value in ("m", "f")),
        FileKind(
            "reco2file_and_channel",
            "recording",
            "RECORDING FILE A|B",
            lambda value: _words(2)(value) and value.split()[1] in ("A", "B", "1"),
        ),
    )
}


@dataclasses.dataclass
class DataFile:
    """One file: for each of its lines the key, and the value that follows (both empty for a blank line).

    ``faults`` are those of its bytes: (line, what is wrong); line counts from 1.
    """

    kind: FileKind
    path: Path
    keys: list[str]
    values: list[str]
    faults: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return self.kind.name

    def map(self) -> dict[str, str]:
        """Key → value; of lines with the same key the first, as ``sort -u`` keeps it."""
        result: dict[str, str] = {}
        for key, value in zip(self.keys, self.values, strict=True):
            if key:
                result.setdefault(key, value)
        return result

    def valid(self) -> dict[str, str]:
        """As :meth:`map`, without malformed lines."""
        return {key: value for key, value in self.map().items() if self.kind.is_valid(value)}

    def line_numbers(self) -> dict[str, int]:
        """Key → line, counted from 1."""
        return {key: number for number, key in enumerate(self.keys, 1)}

    def replaced(self, lines: Iterable[tuple[str, str]]) -> DataFile:
        """The same file with these lines (key, value), and no faults of bytes."""
        lines = list(lines)
        return DataFile(self.kind, self.path, [key for key, _ in lines], [value for _, value in lines])

    def text(self) -> str:
        """What the file holds."""
        lines = zip(self.keys, self.values, strict=True)
        return "".join(f"{key} {value}".rstrip() + "\n" for key, value in lines)


#: by file name
DataFiles = dict[str, DataFile]


def durations_in(files: DataFiles, name: str) -> dict[str, float]:
    """Seconds by key, as utt2dur or reco2dur tells; empty where there is no such file."""
    return {key: float(value) for key, value in files[name].valid().items()} if name in files else {}


def _read(path: Path, kind: FileKind) -> DataFile:
    refuse_irregular_file(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", path=path) from error
    file = DataFile(kind, path, [], [])
    if lines[0].startswith(codecs.BOM_UTF8):  # as Windows' editors write it
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        file.faults.append((1, "byte order mark at the beginning of the file"))
    if lines[-1]:
        file.faults.append((len(lines), "no newline at the end of the file"))
    else:
        lines.pop()
    for number, raw in enumerate(lines, 1):
        fields = [field.strip() for field in raw.split(None, 1)] + [b"", b""]  # at ASCII's white space, as Kaldi does
        try:
            key, value = fields[0].decode("utf-8"), fields[1].decode("utf-8")
        except UnicodeDecodeError:
            key, value = (field.decode("utf-8", "backslashreplace") for field in fields[:2])
            file.faults.append((number, NOT_TEXT))
        if not key:
            file.faults.append((number, "blank line"))
        elif raw.endswith(b"\r"):
            file.faults.append((number, "carriage return at the end of the line"))
        if len(key.split()) > 1 or not key.isprintable():
            file.faults.append((number, ODD_ID))
        file.keys.append(key)
        file.values.append(value)
    return file


def read_data_files(path: str | Path) -> DataFiles:
    """Read those of :data:`DATA_FILES` that a directory has.

    Raises:
        DataError: no such directory, or a file is not a regular one or cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError("no such directory", path=path)
    return {name: _read(path / name, kind) for name, kind in DATA_FILES.items() if (path / name).exists()}
