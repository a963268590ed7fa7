"""The Lhotse manifest beside the Kaldi files, as plain JSON or as columns: to read it without Lhotse."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from svtk.data import SAMPLE_RATE
from svtk.errors import DataError

__all__ = ["MANIFEST", "columns_of", "is_current", "manifest_blocks", "manifest_rows"]

#: the manifest's name in a data directory
MANIFEST = "cuts.jsonl.gz"
_BYTES = 1 << 22  # of a block
_MEND = "remove it; it is made again"
_STRING = pa.large_string()
_SCHEMA = pa.schema(
    {
        "id": _STRING,
        "start": pa.float64(),
        "duration": pa.float64(),
        "supervisions": pa.list_(pa.struct({"speaker": _STRING})),
        "recording": pa.struct(
            {
                "sources": pa.list_(pa.struct({"type": _STRING, "source": _STRING})),
                "sampling_rate": pa.int64(),
                "transforms": pa.list_(pa.struct({"name": _STRING})),
            }
        ),
        "type": _STRING,
    }
)


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
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"damaged manifest: {error}", path=path, line=number, mend=_MEND) from error
                yield row
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"damaged manifest: {error}", path=path, mend=_MEND) from error


def manifest_blocks(data_dir: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the manifest in blocks of whole lines: the number of the first one, and the lines.

    Raises:
        DataError: it cannot be decompressed to its end.
    """
    path, number = data_dir / MANIFEST, 1
    try:
        with gzip.open(path, "rb") as file:
            while block := file.read(_BYTES):
                block += file.readline()
                yield number, block
                number += block.count(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"damaged manifest: {error}", path=path, mend=_MEND) from error


def columns_of(block: bytes) -> tuple[pa.Array, pa.Array, pa.Array, np.ndarray, np.ndarray] | None:
    """Lines of a manifest as columns, or None where one of them is out of the ordinary.

    Returns:
        utterance, speaker (null: none) and audio (a path or pipe) of each line, first sample in the recording, and
        number of samples.
    """
    parse = pyarrow.json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    read = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block))
    try:
        table = pyarrow.json.read_json(pa.BufferReader(block), read, parse)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    utts, starts, seconds, supervisions, recordings, kinds = (
        pa.concat_arrays(table[name].chunks) for name in _SCHEMA.names
    )
    sources, rates, transforms = (pc.struct_field(recordings, i) for i in range(3))
    one_source = pc.equal(pc.list_value_length(sources), 1)
    speakers = pc.list_value_length(supervisions).fill_null(0)
    ordinary = [
        utts.is_valid(),
        starts.is_valid(),
        seconds.is_valid(),
        pc.equal(kinds, "MonoCut"),
        pc.equal(rates, SAMPLE_RATE),
        transforms.is_null(),
        one_source,
        pc.less_equal(speakers, 1),
    ]
    if not all(pc.all(pc.fill_null(column, False)).as_py() for column in ordinary):
        return None
    source = sources.flatten()
    kind, wavs = pc.struct_field(source, 0), pc.struct_field(source, 1)
    is_command = pc.equal(kind, "command")
    is_file = pc.and_(pc.equal(kind, "file"), pc.invert(pc.ends_with(pc.utf8_rtrim_whitespace(wavs), "|")))
    if not pc.all(pc.fill_null(pc.or_(is_command, is_file), False)).as_py():
        return None
    if pc.any(is_command).as_py():
        bar, space = pa.scalar("|", _STRING), pa.scalar(" ", _STRING)
        wavs = pc.if_else(is_command, pc.binary_join_element_wise(wavs, bar, space), wavs)
    spks = pa.nulls(len(utts), _STRING)
    if pc.any(pc.greater(speakers, 0)).as_py():
        names = pc.struct_field(supervisions.flatten(), 0)
        spks = pc.replace_with_mask(spks, pc.greater(speakers, 0), names)
    samples = np.round(seconds.to_numpy() * SAMPLE_RATE, 8)
    if (np.abs(samples % 1 - 0.5) < 1e-6).any():  # Lhotse rounds such exactly
        return None
    first = np.rint(starts.to_numpy() * SAMPLE_RATE).astype(np.int64)
    return utts, spks, wavs, first, np.rint(samples).astype(np.int64)
