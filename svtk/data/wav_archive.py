"""Archives of WAV files (``ark:``), as Kaldi's wav-copy writes them, read as they come: from stdin or a pipe too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from svtk.errors import DataError
from svtk.kaldi.entries import read_key
from svtk.kaldi.streams import ByteSource, open_rxfilename

__all__ = ["MOST_BYTES", "WavEntry", "read_wav_archive"]

MOST_BYTES = 0x7FFF0000  # a RIFF header that claims more means "to the end", which only a file of its own has


@dataclasses.dataclass(frozen=True)
class WavEntry:
    """The WAV file of one entry: its bytes; as a path, for messages, it is the archive."""

    data: bytes
    archive: str

    def __fspath__(self) -> str:
        return self.archive


def read_wav_archive(rxfilename: str) -> Iterator[tuple[str, WavEntry]]:
    """Yield ``(utt, WAV file)`` in the archive's order, one at a time; nothing is decoded.

    Raises:
        DataError: the archive cannot be opened, is cut off, holds a key twice or what is no WAV file; or the
            command of a pipe fails.
    """
    with open_rxfilename(rxfilename) as file:
        source = ByteSource(file)
        seen: set[str] = set()
        while (utt := read_key(source, rxfilename)) is not None:
            if utt in seen:
                raise DataError(f"key {utt!r} stands twice", path=rxfilename, mend="keep one of the two entries")
            seen.add(utt)
            start = source.offset
            try:
                head = bytes(source.read(8))
                size = int.from_bytes(head[4:], "little")
                if head[:4] != b"RIFF" or not 0 < size < MOST_BYTES:
                    found, expected = repr(head[:4]), "a WAV file of known length, as wav-copy writes it"
                    what = f"entry {utt!r} at offset {start} is no such audio"
                    raise DataError(what, path=rxfilename, found=found, expected=expected)
                yield utt, WavEntry(head + bytes(source.read(size)), rxfilename)
            except EOFError as error:
                what = f"damaged archive at key {utt!r}, offset {start}: {error}"
                raise DataError(what, path=rxfilename, mend="write the archive again") from error
