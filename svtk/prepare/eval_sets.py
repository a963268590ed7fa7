"""Evaluation sets beside VoxCeleb1's own lists: VoxSRC 2022 and 2023 validation, VCMix, VOiCES 2019.

============  ================================================  ===================================================
name          a line of the list                                where its files are
============  ================================================  ===================================================
voxsrc22      ``0 VoxSRC2022_dev/dev_00000.wav ...`` and        ROOT/.../VoxSRC2022_dev, VoxCeleb1
              ``1 id10341/rX4LkvzySSM/00006.wav ...``
voxsrc23      ``1 A.wav B.wav``                                 ROOT/.../*.wav
vcmix         ``0 FOLDER/A.wav FOLDER/B.wav`` of VoxConverse,   ROOT/.../FOLDER, VoxCeleb1 (test)
              ``1 id10270/VIDEO/A.wav ...`` of VoxCeleb1-O
voices_dev    ``A sid_dev/sp0032/B.wav tgt`` (or ``imp``)       ROOT/.../sid_dev/sp0032
voices_eval   ``A B.wav tgt`` (or ``imp``)                      ROOT/.../sid_eval
============  ================================================  ===================================================

Layouts and file names are those that public readers of these lists agree on: Hyperion's recipes (VoxSRC 2022, VOiCES),
SEED's code (VCMix: the 140,734 nontarget pairs of VoxConverse without overlap and the 18,802 target pairs of
VoxCeleb1-O), and code that asserts the numbers of VoxSRC 2023 and VCMix. Not confirmed: 306,432, which that code has
but does not check, nor says whether of ``voxsrc2022_dev.txt`` or of ``voxsrc2022_dev_fixed.txt``; what VoxConverse's
cut-outs are called; the numbers of VOiCES (20,224 and 36,443 target trials, 4,018,432 and 357,073 nontarget ones),
recalled from papers on the challenge. Another number is therefore a warning, not an error.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir
from svtk.kaldi.text import read_text
from svtk.kaldi.trials import Trials, read_trials, write_trials
from svtk.prepare.folder import finish_data_dir
from svtk.prepare.sources import FFMPEG_EXTENSIONS, SNDFILE_EXTENSIONS, Source, find_audio, take_in

__all__ = ["EVAL_SETS", "EvalSet", "prepare_eval_set", "read_list"]


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """What is known of an evaluation set.

    Attributes:
        lists: names that its trial list goes by, the best first.
        num_trials: of the whole list.
        expected: what lies below ROOT, for messages.
        folder: only audio below a folder of this name counts, since others hold files of the same names.
    """

    lists: tuple[str, ...]
    num_trials: int
    expected: str
    folder: str | None = None


EVAL_SETS = {
    "voxsrc22": EvalSet(("voxsrc2022_dev_fixed.txt", "voxsrc2022_dev.txt"), 306_432, "VoxSRC2022_dev/dev_00000.wav"),
    "voxsrc23": EvalSet(("VoxSRC2023_val.txt", "VoxSRC2023_Track12_val.txt"), 49_987, "VoxSRC2023_val/*.wav"),
    "vcmix": EvalSet(("vcmix_test.txt",), 159_536, "VoxConverse's test speech cut into FOLDER/UTT.wav"),
    "voices_dev": EvalSet(("dev-trial-keys.lst",), 4_038_656, "sid_dev/sp0032/*.wav", folder="sid_dev"),
    "voices_eval": EvalSet(
        ("VOiCES_challenge_2019_eval.SID.trial-keys.lst", "eval-trial-keys.lst"),
        393_516,
        "sid_eval/*.wav",
        folder="sid_eval",
    ),
}
_VOX1 = re.compile(r"id1\d{4}")
_VOICES_SPK = re.compile(r"sp\d+")
_SHOWN = 3  # missing files in a message


def _find_list(names: Sequence[str], root: Path) -> Path:
    """The trial list, at most three folders below *root*."""
    for name in names:
        for depth in range(4):
            found = sorted(root.glob("*/" * depth + name))
            if found:
                return found[0]
    raise DataError("no trial list", path=root, expected=" or ".join(names), mend="name it by --trials FILE")


def _read_voices(path: Path) -> Trials:
    """Trials of ``ENROLL TEST tgt|imp``; of a name that stands in many of the millions of lines, one copy."""
    names: dict[str, str] = {}
    enroll, test, labels = [], [], []
    for number, line in enumerate(read_text(path), 1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in ("tgt", "imp"):
            raise DataError(
                "malformed trial",
                path=path,
                line=number,
                found=repr(" ".join(fields)),
                expected="'ENROLL TEST tgt|imp'",
            )
        enroll.append(names.setdefault(fields[0], fields[0]))
        test.append(names.setdefault(fields[1], fields[1]))
        labels.append(fields[2] == "tgt")
    if not labels:
        raise DataError("the trial list is empty", path=path)
    return Trials(enroll, test, np.array(labels))


def read_list(name: str, path: str | os.PathLike) -> Trials:
    """Read the trial list of the evaluation set *name*, the files still called as it calls them.

    Raises:
        DataError: the list is empty or without labels, or a line is malformed (by number).
    """
    path = Path(path)
    if name.startswith("voices"):
        return _read_voices(path)
    trials = read_trials(path)
    if trials.labels is None:
        raise DataError("trials without labels", path=path, line=1, expected="'1|0 ENROLL TEST'")
    return trials


def _stem(name: str) -> str:
    """A file as a list names it, without the extension if it has one."""
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in SNDFILE_EXTENSIONS | FFMPEG_EXTENSIONS else name


def _find_files(stems: Iterable[str], roots: Sequence[Path], folder: str | None) -> dict[str, Path]:
    """Stem -> the audio file whose path ends in it; the first of *roots* that has one."""
    wanted = set(stems)
    depths = {stem.count("/") + 1 for stem in wanted}
    found: dict[str, Path] = {}
    for root in roots:
        here: dict[str, Path] = {}
        for path in find_audio(root) if wanted else ():
            if folder is not None and folder not in path.parts:
                continue
            parts = path.with_suffix("").parts
            for stem in wanted.intersection("/".join(parts[-depth:]) for depth in depths):
                other = here.setdefault(stem, path)
                if other is not path and not os.path.samefile(other, path):
                    raise DataError(
                        f"two files go by the name {stem!r}",
                        path=path,
                        found=f"{other} as well",
                        mend="name a folder by ROOT that holds one of them",
                    )
        found |= here
        wanted -= here.keys()
    return found


def _source(stem: str, path: Path) -> Source:
    """The utterance that a file is; where no speaker is known, each is its own, as in Kaldi."""
    *_, spk, folder, name = ("", "", *path.with_suffix("").parts)
    if _VOX1.fullmatch(spk):  # as in prepare-voxceleb
        return Source(f"{spk}-{folder}-{name}", spk, path)
    if _VOICES_SPK.fullmatch(folder):
        return Source(f"{folder}-{name}", folder, path)
    utt = stem.replace("/", "-")
    return Source(utt, utt, path)


def _refuse_missing(missing: list[str], num_files: int, trials_path: Path, expected: str, has_vox1: bool) -> None:
    mend = "check ROOT, or leave out the trials that need them by --skip-bad"
    if not has_vox1 and any(_VOX1.fullmatch(stem.split("/")[0]) for stem in missing):
        mend = "name VoxCeleb1, dev and test, by --vox1 DIR"
    raise DataError(
        f"{len(missing)} of the {num_files} files that the list names are not there",
        path=trials_path,
        found=f"no {', '.join(missing[:_SHOWN])}{' ...' if len(missing) > _SHOWN else ''}",
        expected=f"{expected} below ROOT",
        mend=mend,
    )


def prepare_eval_set(
    name: str,
    root: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    vox1: str | os.PathLike | None = None,
    trials: str | os.PathLike | None = None,
    skip_bad: bool = False,
    num_threads: int | None = None,
) -> DataDir:
    """Write *out_dir*/NAME, a data directory of what the trial list needs, and *out_dir*/trials/NAME.

    Files are taken in as :func:`svtk.prepare.sources.take_in` says; the trial list appears last. An utterance of
    VoxCeleb1 is called as prepare-voxceleb calls it, one of VOiCES dev ``sp0032-FILE``, any other as in the list.

    Args:
        name: of the set, one of :data:`EVAL_SETS`.
        root: where it lies; audio and list may be some folders below.
        out_dir: where all goes.
        vox1: VoxCeleb1, for the sets that need it and do not have it below *root*.
        trials: the trial list; None looks for its official names at most three folders below *root*.
        skip_bad: leave out files that are missing, unreadable or empty and the trials that name them, with a warning.
        num_threads: how many files are read at a time.

    Returns:
        the data directory.

    Raises:
        DataError: the list is missing or malformed, or names files that are not there or are there twice.
        AudioError: a file is unreadable or empty.
    """
    spec, root, out_dir = EVAL_SETS[name], Path(root), Path(out_dir)
    trials_path = _find_list(spec.lists, root) if trials is None else Path(trials)
    listed = read_list(name, trials_path)
    if len(listed) != spec.num_trials:
        logging.warning("%s: %d trials, where %s is known to have %d", trials_path, len(listed), name, spec.num_trials)
    files = sorted({*listed.enroll, *listed.test})
    stems = {file: _stem(file) for file in files}
    found = _find_files(stems.values(), [root] if vox1 is None else [root, Path(vox1)], spec.folder)
    missing = [file for file in files if stems[file] not in found]
    if missing and not (skip_bad and found):
        _refuse_missing(missing, len(files), trials_path, spec.expected, vox1 is not None)
    if missing:
        logging.warning("%s: left out %d of %d files, which are not there", name, len(missing), len(files))
    sources = {file: _source(stems[file], found[stems[file]]) for file in files if stems[file] in found}
    distinct = list({(source.utt, source.path): source for source in sources.values()}.values())
    data_dir = out_dir / name
    utterances = take_in(distinct, data_dir, skip_bad=skip_bad, num_threads=num_threads, desc=f"reading {name}")
    usable = {u.utt for u in utterances}
    utts = {file: source.utt for file, source in sources.items() if source.utt in usable}
    made = _rename(listed, utts)
    if not len(made):
        raise DataError("no trial is left", path=trials_path, found=f"{len(usable)} usable files", mend="check ROOT")
    if len(made) < len(listed):
        logging.warning(
            "%s: left out %d of %d trials; the error rates are of the rest", name, len(listed) - len(made), len(listed)
        )
    data = finish_data_dir(data_dir, utterances)
    (out_dir / "trials").mkdir(parents=True, exist_ok=True)
    write_trials(out_dir / "trials" / name, made)
    logging.info("%s: %d trials, %d target", out_dir / "trials" / name, len(made), np.count_nonzero(made.labels))
    return data


def _rename(trials: Trials, utts: dict[str, str]) -> Trials:
    """The trials both of whose files are among *utts*, by utterance."""
    sides = zip(trials.enroll, trials.test, strict=True)
    kept = [i for i, (enroll, test) in enumerate(sides) if enroll in utts and test in utts]
    return Trials([utts[trials.enroll[i]] for i in kept], [utts[trials.test[i]] for i in kept], trials.labels[kept])
