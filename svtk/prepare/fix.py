"""Mend a data directory as Kaldi's fix_data_dir.sh does: sort, drop what is not in all files, derive spk2utt.

Differences to it, all on the safe side: either everything is mended or nothing is touched; of two lines that
give an id different values none is taken by chance; utterances without a line in vad.scp, utt2uniq, utt2warp,
spk2warp or reco2file_and_channel are dropped like those without features; files that can be made again
(utt2dur, reco2dur, utt2num_frames, the manifest) are moved to the backup where they are wrong or incomplete.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from pathlib import Path

from svtk.data.manifest import MANIFEST, is_current
from svtk.errors import DataError
from svtk.kaldi.data_files import DATA_FILES, DataFile, DataFiles, read_data_files
from svtk.kaldi.text import refuse_irregular_file
from svtk.prepare.check_files import check_files
from svtk.prepare.check_manifest import check_manifest
from svtk.prepare.problems import Problems

__all__ = ["BACKUP", "Fixed", "Unfixable", "fix_data"]

log = logging.getLogger(__name__)

#: where the replaced files go, within the data directory
BACKUP = ".backup"
_STAGE = ".fix.part"  # the mended files on their way to their places


class Unfixable(DataError):
    """A data directory that only its owner can mend; ``problems`` tells what is wrong."""

    def __init__(self, path: Path, problems: Problems):
        self.problems = problems
        what = f"cannot be mended: {problems.count} problem(s) of {len(problems)} kind(s), told above; nothing changed"
        super().__init__(what, path=path, mend="mend those by hand, then run svtk fix-data again")


@dataclasses.dataclass(frozen=True)
class Fixed:
    """What was done: files written anew and removed; utterances and speakers (kept, of)."""

    path: Path
    written: list[str]
    removed: list[str]
    utts: tuple[int, int]
    spks: tuple[int, int]

    def summary(self) -> str:
        """One line: how much was kept."""
        kept = f"kept {self.utts[0]} of {self.utts[1]} utterances, {self.spks[0]} of {self.spks[1]} speakers"
        if not self.written and not self.removed:
            return f"{self.path}: {kept}: nothing to mend"
        return f"{self.path}: {kept}; the old files are in {self.path / BACKUP}"


def fix_data(data_dir: str | os.PathLike, *, spk_sort: bool = True, wav: bool = True) -> Fixed:
    """Make a data directory valid, or touch nothing; where a run was killed, run it again.

    Args:
        data_dir: the data directory.
        spk_sort, wav: as :func:`svtk.prepare.validate.validate_data`.

    Raises:
        Unfixable: lines that are malformed, that contradict each other, or that no filtering can mend.
        DataError: no such directory, no utterance is in all files, or a file is no regular one or cannot be read or
            written.
    """
    path = Path(data_dir)
    try:
        files = read_data_files(path)
        refuse_irregular_file(path / MANIFEST)
        _require_fixable(path, files, spk_sort, wav)
        mended = _filter(path, _clean(files))
        for name in _require_fixable(path, mended, spk_sort, wav, is_filtered=True):
            del mended[name]
        written = [name for name, file in mended.items() if _changes(path / name, file)]
        removed = [name for name in files if name not in mended]
        if (path / MANIFEST).exists() and not _manifest_fits(path, mended, bool(written or removed)):
            removed.append(MANIFEST)
        if written or removed:
            _replace(path, [mended[name] for name in written], removed)
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror}", path=error.filename or path) from error
    for name in written:
        old = len(files[name].keys) if name in files else 0
        log.info("%s: written anew, %d of %d lines", path / name, len(mended[name].keys), old)
    for name in removed:
        log.info("%s: moved to %s; it can be made again", path / name, BACKUP)
    before, after = files["utt2spk"].map(), mended["utt2spk"].map()
    spks = len(set(after.values())), len(set(before.values()))
    return Fixed(path, written, removed, (len(after), len(before)), spks)


def _require_fixable(path: Path, files: DataFiles, spk_sort: bool, wav: bool, *, is_filtered: bool = False) -> set[str]:
    """The files with problems. Once *is_filtered*, they can be mended only by being made again.

    Raises:
        Unfixable: there are problems that fix-data cannot mend.
    """
    problems, unfixable = Problems(), Problems()
    check_files(path, files, problems, spk_sort=spk_sort, wav=wav)
    for problem in problems:
        if not problem.is_fixable or (is_filtered and not DATA_FILES[problem.file].can_be_remade):
            unfixable.take(problem)
    if unfixable:
        raise Unfixable(path, unfixable)
    return {problem.file for problem in problems}


def _clean(files: DataFiles) -> DataFiles:
    """Without blank lines and repeated ones, sorted as under ``LC_ALL=C``."""
    cleaned = {}
    for name, file in files.items():
        lines = dict.fromkeys(zip(file.keys, file.values, strict=True))
        cleaned[name] = file.replaced(sorted(line for line in lines if line[0]))
    return cleaned


def _filter(path: Path, files: DataFiles) -> DataFiles:
    """The files restricted to the utterances that all of them know, with spk2utt derived from utt2spk.

    Raises:
        DataError: no such utterance.
    """
    utt2spk = files["utt2spk"].map()
    recording_of = {utt: utt for utt in utt2spk}
    if "segments" in files:
        recording_of = {utt: value.split()[0] for utt, value in files["segments"].map().items()}
    known = {"utt": set(recording_of) & set(utt2spk), "spk": set(utt2spk.values()), "recording": None}
    for file in files.values():
        if not file.kind.can_be_remade:
            others = known[file.kind.key]
            known[file.kind.key] = set(file.keys) if others is None else others & set(file.keys)
    recordings = known["recording"]
    utts = {
        utt
        for utt in known["utt"]
        if utt2spk[utt] in known["spk"] and (recordings is None or recording_of[utt] in recordings)
    }
    if not utts:
        counts = ", ".join(f"{name} {len(file.keys)}" for name, file in files.items())
        raise DataError("no utterance is in all files; nothing changed", path=path, found=f"lines: {counts}")
    keep = {
        "utt": utts,
        "spk": {utt2spk[utt] for utt in utts},
        "recording": {recording_of[utt] for utt in utts},
    }
    result = {
        name: file.replaced(
            (key, value) for key, value in zip(file.keys, file.values, strict=True) if key in keep[file.kind.key]
        )
        for name, file in files.items()
    }
    spk2utt: dict[str, list[str]] = {}
    for utt, spk in result["utt2spk"].map().items():
        spk2utt.setdefault(spk, []).append(utt)
    kind = DATA_FILES["spk2utt"]
    empty = DataFile(kind, path / kind.name, [], [])
    result[kind.name] = empty.replaced((spk, " ".join(spk2utt[spk])) for spk in sorted(spk2utt))
    return result


def _changes(path: Path, file: DataFile) -> bool:
    return not path.exists() or path.read_bytes() != file.text().encode("utf-8")


def _manifest_fits(path: Path, files: DataFiles, files_change: bool) -> bool:
    """Whether the manifest may stay: right, and not about to be older than the files."""
    if files_change or not is_current(path):
        return False
    problems = Problems()
    check_manifest(path, files, problems)
    return not problems


def _replace(path: Path, written: list[DataFile], removed: list[str]) -> None:
    """Put new files in the places of old ones, which go to the backup; nothing is touched until all are written.

    Killed in between, some files are new and some old. The next run then leaves the new ones as they are, with
    the old ones in the backup, and makes the others the same again: every line left out is missing in some file.
    """
    stage, backup = path / _STAGE, path / BACKUP
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    for file in written:
        (stage / file.name).write_bytes(file.text().encode("utf-8"))
    backup.mkdir(exist_ok=True)
    for name in [*(file.name for file in written), *removed]:
        if (path / name).exists():
            shutil.copyfile(path / name, backup / f"{name}.part")
            os.replace(backup / f"{name}.part", backup / name)
    for name in removed:
        (path / name).unlink()
    for file in written:
        os.replace(stage / file.name, path / file.name)
    stage.rmdir()
