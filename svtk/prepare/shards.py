"""A data directory's audio as shards, tar files that are read from front to back, and the data directory of these."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from svtk.data import END_TOLERANCE, SAMPLE_RATE
from svtk.data.audio import encoded_audio, is_pipe, open_audio, read_audio
from svtk.data.cuts import load_utterances, write_cuts
from svtk.data.shard_entries import HEADER
from svtk.data.utterances import Located, Utterances
from svtk.errors import AudioError, DataError
from svtk.fingerprint import sha256_of_named
from svtk.kaldi.datadir import Utterance, write_data_dir
from svtk.kaldi.text import write_text
from svtk.progress import progress

__all__ = ["make_shards"]

log = logging.getLogger(__name__)

_READERS = 8  # files read at a time: a slow disk or network answers several sooner than one after another
_COPIED = ("spk2gender", "vad.scp")  # what says nothing of where the audio lies
_EXTENSIONS = {"WAV": "wav", "WAVEX": "wav", "FLAC": "flac", "OGG": "ogg", "MPEG": "mp3"}


def make_shards(data_dir: str, shard_dir: str, *, per_shard: int = 1000, seed: int = 0) -> None:
    """Write the audio of *data_dir* as shards below *shard_dir*, which becomes a data directory of the same utterances.

    Whole recordings are stored as they are, byte for byte; segments, pipes without a length and the like as FLAC or,
    where that would lose something, as 32-bit WAV. A rerun keeps the shards that are whole.

    Args:
        data_dir: a data directory.
        shard_dir: gets ``shards/NUMBER.tar``, each with an index ``NUMBER.json`` beside it, and Kaldi's files.
        per_shard: utterances in a shard.
        seed: of their order.

    Raises:
        DataError: the data directory is wrong, the directory holds shards of other data, or there is no room.
        AudioError: audio that is unreadable, or more than END_TOLERANCE shorter than the data directory says.
    """
    items, root = load_utterances(data_dir), Path(os.path.abspath(shard_dir))
    if root == Path(os.path.abspath(data_dir)):
        raise DataError("the shards need a directory of their own", path=root, mend="name another one")
    _claim(root, items, per_shard, seed)
    order = np.random.default_rng(seed).permutation(len(items))
    shards = [order[first : first + per_shard] for first in range(0, len(order), per_shard)]
    paths = [root / "shards" / f"{number:06d}.tar" for number in range(len(shards))]
    found = [_read_index(path) for path in paths]
    if left := [number for number, entries in enumerate(found) if entries is None]:
        log.info("shards: %d to write, %d are there", len(left), len(shards) - len(left))
        _require_room(root, items, np.concatenate([shards[number] for number in left]))
        with ThreadPoolExecutor(_READERS) as pool:
            for number in progress(left, "shards", unit="shard"):
                found[number] = _write_shard(paths[number], [items[index] for index in shards[number]], pool)
    utterances = [
        Utterance(item.utt, item.spk, f"{path}:{offset}", item.utt, duration=num_samples / SAMPLE_RATE)
        for path, places, entries in zip(paths, shards, found, strict=True)
        for item, (offset, num_samples) in zip((items[index] for index in places), entries, strict=True)
    ]
    write_data_dir(root, utterances)
    for name in _COPIED:
        (root / name).unlink(missing_ok=True)
        if (Path(data_dir) / name).exists():
            shutil.copyfile(Path(data_dir) / name, root / name)
    write_cuts(root, verified=True)


def _claim(root: Path, items: Utterances, per_shard: int, seed: int) -> None:
    """Note whose shards are in *root*, or refuse others."""
    named = ((f"{item.utt} {item.wav} ", b"%d %d" % (item.start, item.num_samples)) for item in items)
    plan = {"utterances": sha256_of_named(named), "per_shard": per_shard, "seed": seed}
    note = root / "shards.json"
    if note.exists():
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            differing = [key for key in plan if known.get(key) != plan[key]]
        except (ValueError, AttributeError) as error:  # no JSON, or no object
            raise DataError("damaged", path=note, mend="remove the directory, and make the shards again") from error
        if differing:
            raise DataError(
                "the directory holds other shards",
                path=root,
                found=f"a difference in {', '.join(differing)}",
                mend="choose another directory, or remove this one to start afresh",
            )
    elif (root / "wav.scp").exists():
        what = "the directory holds a data directory that is not made of shards"
        raise DataError(what, path=root, mend="choose another directory")
    (root / "shards").mkdir(parents=True, exist_ok=True)
    write_text(note, [json.dumps(plan, indent=1)])


def _read_index(path: Path) -> list[tuple[int, int]] | None:
    """What :func:`_write_shard` returned of a shard that is there and whole."""
    try:
        index = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return index["entries"] if path.stat().st_size == index["bytes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _require_room(root: Path, items: Utterances, left: np.ndarray) -> None:
    """
    Raises:
        DataError: there is less than what the utterances that are left to write need, by some of them.
    """
    some = left[:: -(-len(left) // 200)]
    needed = round(np.mean([_size(items[index]) for index in some]) * len(left))
    free = shutil.disk_usage(root).free
    log.info("about %.2f GiB (free %.1f GiB)", needed / 2**30, free / 2**30)
    if needed > free:
        raise DataError(
            "not enough disk for the shards",
            path=root,
            found=f"{free / 2**30:.2f} GiB free",
            expected=f"about {needed / 2**30:.2f} GiB",
            mend="make room, or train from the files",
        )


def _size(item: Located) -> int:
    size = 2 * item.num_samples
    if item.start == 0 and os.path.exists(item.wav):
        size = min(os.path.getsize(item.wav), 2 * size)  # it may be the first segment of many
    return size + 2 * HEADER


def _write_shard(path: Path, items: list[Located], pool: ThreadPoolExecutor) -> list[tuple[int, int]]:
    """Write a shard and its index, each by rename, the index last.

    Returns:
        offset and number of samples of each utterance, in the order of *items*.
    """
    part, entries = path.with_suffix(".tar.part"), []
    try:
        with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
            for item, (extension, data, num_samples) in zip(items, _in_turn(pool, items), strict=True):
                info = tarfile.TarInfo(f"{item.utt}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                entries.append((tar.offset - -(-len(data) // HEADER) * HEADER, num_samples))
        size = part.stat().st_size
        os.replace(part, path)
        write_text(path.with_suffix(".json"), [json.dumps({"bytes": size, "entries": entries})])
    except OSError as error:
        mend = "make room, and run again: finished shards are kept"
        raise DataError(f"cannot write: {error.strerror}", path=path, mend=mend) from error
    finally:
        part.unlink(missing_ok=True)
    return entries


def _in_turn(pool: ThreadPoolExecutor, items: list[Located]) -> Iterator[tuple[str, bytes, int]]:
    """:func:`_stored` of *items* in their order, some read ahead."""
    rest, ahead = iter(items), []
    for item in islice(rest, 2 * _READERS):
        ahead.append(pool.submit(_stored, item))
    while ahead:
        yield ahead.pop(0).result()
        for item in islice(rest, 1):
            ahead.append(pool.submit(_stored, item))


def _stored(item: Located) -> tuple[str, bytes, int]:
    """An utterance as it lies in a shard: extension, bytes and number of samples."""
    wav = (encoded_audio(item.wav, item.utt) if is_pipe(item.wav) else None) or item.wav  # a command runs once
    with open_audio(wav, item.utt) as sound:
        is_whole, form = item.start == 0 and sound.frames <= item.num_samples, sound.format
    whole = encoded_audio(wav, item.utt) if is_whole and form in _EXTENSIONS else None
    samples = read_audio(whole or wav, item.start, item.num_samples, item.utt)  # it can be decoded to its end
    if len(samples) < item.num_samples - round(END_TOLERANCE * SAMPLE_RATE):  # Kaldi's utt2dur is rounded
        raise AudioError(
            f"audio of {item.utt!r} is shorter than the data directory says",
            path=item.wav,
            found=f"{len(samples)} samples",
            expected=f"{item.num_samples}",
            mend="copy the file again; or see svtk validate-data --check-audio, svtk fix-data",
        )
    if whole is not None:
        return _EXTENSIONS[form], whole.data, len(samples)
    numbers, file = np.round(samples * 32768), io.BytesIO()
    if np.array_equal(numbers / 32768, samples) and np.abs(numbers + 0.5).max() < 32768:
        soundfile.write(file, numbers.astype(np.int16), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        return "flac", file.getvalue(), len(samples)
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return "wav", file.getvalue(), len(samples)
