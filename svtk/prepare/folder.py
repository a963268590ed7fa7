"""Any tree ROOT/SPK/**/UTT.ext made into a Kaldi data directory and the Lhotse manifest beside it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from svtk.data.cuts import write_cuts
from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir, Utterance, write_data_dir
from svtk.prepare.sources import Source, find_audio, forget_lengths, take_in

__all__ = ["choose_speakers", "clean", "finish_data_dir", "prepare_folder", "read_speakers"]

_SEX = {"m": "m", "male": "m", "f": "f", "female": "f"}


def read_speakers(path: str | os.PathLike) -> dict[str, str]:
    """Read the sex of speakers, ``m`` or ``f``, from a tab-separated table with the columns ``spk`` and ``sex``.

    Raises:
        DataError: no such columns, a malformed line (by number), another value of sex, or a speaker twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", path=path) from error
    header = lines[0].split("\t") if lines else []
    if "spk" not in header or "sex" not in header:
        raise DataError(
            "not a speaker table",
            path=path,
            line=1,
            found=repr("\t".join(header)),
            expected="tab-separated columns spk and sex",
        )
    sexes: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        fields = dict(zip(header, line.split("\t"), strict=False))
        sex = _SEX.get(fields.get("sex", "").strip().lower())
        if len(line.split("\t")) != len(header) or sex is None:
            raise DataError(
                "malformed speaker",
                path=path,
                line=number,
                found=repr(line),
                expected=f"{len(header)} fields separated by tabs, sex m or f",
            )
        if fields["spk"] in sexes:
            raise DataError(
                f"speaker {fields['spk']!r} stands twice", path=path, line=number, mend="keep one of the two lines"
            )
        sexes[fields["spk"]] = sex
    return sexes


def choose_speakers(sexes: dict[str, str | None], num_spks: int, seed: int) -> set[str]:
    """Choose *num_spks* speakers at random, as many women as men where both are known and there are enough."""
    rng = np.random.default_rng(seed)
    shuffled = [str(spk) for spk in rng.permutation(sorted(sexes))]
    pools = {sex: [spk for spk in shuffled if sexes[spk] == sex] for sex in ("f", "m")}
    half = num_spks // 2
    chosen = [spk for pool in pools.values() for spk in pool[:half]]
    rest = [spk for spk in shuffled if spk not in set(chosen)]
    return set(chosen + rest[: num_spks - len(chosen)])


def finish_data_dir(data_dir: Path, utterances: Iterable[Utterance]) -> DataDir:
    """Write the Kaldi files, then ``cuts.jsonl.gz`` from them; every utterance has its duration."""
    data = write_data_dir(data_dir, utterances)
    write_cuts(data_dir, verified=True)
    forget_lengths(data_dir)
    speakers = {u.spk for u in data.utterances}
    hours = sum(u.duration or 0.0 for u in data.utterances) / 3600
    logging.info("%s: %d utterances, %d speakers, %.2f hours", data_dir, len(data.utterances), len(speakers), hours)
    return data


def clean(name: str) -> str:
    """A file or folder name as a part of an id: white space becomes ``_``."""
    return re.sub(r"\s+", "_", name)


def _sources(root: Path, sexes: dict[str, str] | None, speakers_path: str | os.PathLike | None) -> list[Source]:
    sources = []
    for path in find_audio(root):
        parts = path.relative_to(os.path.abspath(root)).with_suffix("").parts
        if len(parts) < 2:
            raise DataError(
                "an audio file outside any speaker's folder",
                path=path,
                expected="ROOT/SPK/.../UTT.EXT",
                mend="move or remove it",
            )
        spk = clean(parts[0])
        gender = None
        if sexes is not None:
            gender = sexes.get(parts[0], sexes.get(spk))
            if gender is None:
                raise DataError(
                    f"speaker {parts[0]!r} is missing",
                    path=speakers_path,
                    found=f"a folder {root / parts[0]}",
                    mend="add the speaker",
                )
        sources.append(Source("-".join(clean(part) for part in parts), spk, path, gender))
    if not sources:
        raise DataError("no audio files", path=root, expected="ROOT/SPK/.../UTT.wav (or flac, ogg, opus, mp3, m4a ...)")
    return sources


def prepare_folder(
    root: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    num_valid_spks: int = 0,
    valid_dir: str | os.PathLike | None = None,
    seed: int = 0,
    convert: bool = True,
    channel: int | None = None,
    speakers: str | os.PathLike | None = None,
    skip_bad: bool = False,
) -> tuple[DataDir, DataDir | None]:
    """Write *data_dir* (and *valid_dir*) from the tree ROOT/SPK/**/UTT.ext.

    The speaker is the first folder's name; the utterance id is the path below ROOT without its extension,
    joined by ``-``, so that it starts with the speaker, as Kaldi wants. White space in names becomes ``_``.

    Args:
        root: the tree.
        data_dir: the Kaldi data directory to write.
        num_valid_spks: this many speakers go to *valid_dir* instead, balanced over sex when that is known.
        valid_dir: where the held-out speakers go.
        seed: of that choice.
        convert, channel, skip_bad: see :func:`svtk.prepare.sources.take_in`.
        speakers: a table with the columns ``spk`` and ``sex``, for spk2gender.

    Returns:
        what was written, the second None without *num_valid_spks*.

    Raises:
        DataError: no audio, audio outside a speaker's folder, a speaker missing in *speakers*, a clash of ids.
        AudioError: a file is unreadable, empty, or of another format where *convert* is off.
        SvtkError: ffmpeg is needed and missing.
    """
    root, data_dir = Path(root), Path(data_dir)
    if bool(num_valid_spks) != (valid_dir is not None):
        raise DataError(
            "held-out speakers need both a number and a directory",
            mend="give --num-valid-spks and --valid-dir together",
        )
    sources = _sources(root, None if speakers is None else read_speakers(speakers), speakers)
    sexes = {source.spk: source.gender for source in sources}
    held_out: set[str] = set()
    if valid_dir is not None:
        if not 0 < num_valid_spks < len(sexes):
            raise DataError(
                f"cannot hold out {num_valid_spks} speakers",
                path=root,
                found=f"{len(sexes)} speakers",
                mend="lower --num-valid-spks",
            )
        held_out = choose_speakers(sexes, num_valid_spks, seed)

    def prepare(directory: Path, chosen: list[Source]) -> DataDir:
        utterances = take_in(
            chosen,
            directory,
            convert=convert,
            channel=channel,
            skip_bad=skip_bad,
            desc=f"reading audio for {directory}",
        )
        return finish_data_dir(directory, utterances)

    valid = None
    if valid_dir is not None:
        valid = prepare(Path(valid_dir), [source for source in sources if source.spk in held_out])
    return prepare(data_dir, [source for source in sources if source.spk not in held_out]), valid
