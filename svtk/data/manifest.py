"""The Lhotse manifest beside the Kaldi files, as plain JSON: to check it without Lhotse."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from svtk.errors import DataError

__all__ = ["MANIFEST", "is_current", "manifest_rows"]

#: the manifest's name in a data directory
MANIFEST = "cuts.jsonl.gz"


def is_current(data_dir: Path) -> bool:
    """Whether the directory has a manifest that is no older than the Kaldi files it was made from."""
    manifest = data_dir / MANIFEST
    sources = [data_dir / name for name in ("wav.scp", "segments", "utt2spk", "utt2dur", "reco2dur", "spk2gender")]
    return manifest.exists() and all(
        not source.exists() or source.stat().st_mtime <= manifest.stat().st_mtime for source in sources
    )


def manifest_rows(data_dir: Path) -> Iterator[Any]:
    """Yield what each line of the manifest holds.

    Raises:
        DataError: not compressed JSON lines.
    """
    path = data_dir / MANIFEST
    mend = "remove it; it is made again"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"damaged manifest: {error}", path=path, line=number, mend=mend) from error
                yield row
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"damaged manifest: {error}", path=path, mend=mend) from error
