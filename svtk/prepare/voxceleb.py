"""VoxCeleb1 and VoxCeleb2 as distributed, and VoxCeleb1's official trial lists.

Lhotse has a recipe, ``lhotse.recipes.voxceleb``, which does not serve here: it fetches its trial list
from the network and knows only the first of the three, needs the metadata files, expects one merged
``wav`` folder, wants VoxCeleb2 already decoded to wav, and puts VoxCeleb2's test speakers and VoxCeleb1's
dev speakers, which trials E and H are made of, into the training set. Ids are as in Lhotse and Kaldi:
``id10270-5r0dWxy17C8-00001``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir
from svtk.kaldi.trials import Trials, read_trials, write_trials
from svtk.prepare.folder import finish_data_dir
from svtk.prepare.sources import FFMPEG_EXTENSIONS, Source, find_audio, take_in

__all__ = ["TRIAL_LISTS", "official_trials", "prepare_voxceleb"]

#: Name -> number of trials in the official list, and the names it goes by (the first is the official one).
TRIAL_LISTS = {
    "o": (37_611, ("veri_test2.txt", "voxceleb1_test_v2.txt")),
    "e": (579_818, ("list_test_all2.txt",)),
    "h": (550_894, ("list_test_hard2.txt",)),
    "o_original": (37_720, ("veri_test.txt", "voxceleb1_test.txt")),
    "e_original": (581_480, ("list_test_all.txt",)),
    "h_original": (552_536, ("list_test_hard.txt",)),
}
_SIZES = {"vox1": (1_251, 153_516), "vox2_dev": (5_994, 1_092_009)}  # speakers, utterances
_LISTS_AT = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
_SPK = re.compile(r"id\d{5}")
_TRIAL_SIDE = re.compile(r"(?:.*/)?(id\d{5})/([^/]+)/([^/.]+)(?:\.\w+)?")


def _speaker_folders(root: Path) -> list[Path]:
    """Folders named idNNNNN, at most four levels below *root*, sorted."""
    found = []
    for folder, subfolders, _ in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        found += [Path(folder) / name for name in subfolders if _SPK.fullmatch(name)]
        subfolders[:] = [name for name in subfolders if depth < 3 and not _SPK.fullmatch(name)]
    return sorted(found)


def _read_meta(path: Path) -> dict[str, dict[str, str]]:
    """Speaker -> {"gender": "m", "set": "dev"} of vox1_meta.csv (tabs) or vox2_meta.csv (commas and spaces)."""
    rows = [[field.strip() for field in re.split("[\t,]", line)] for line in path.read_text("utf-8").splitlines()]
    header = [name.lower() for name in rows[0]] if rows else []
    if "gender" not in header or "set" not in header:
        raise DataError("not VoxCeleb's table of speakers", path=path, line=1, expected="columns Gender and Set")
    speakers = {}
    for number, row in enumerate(rows[1:], 2):
        if row == [""]:
            continue
        fields = dict(zip(header, row, strict=False))
        if len(row) != len(header) or not _SPK.fullmatch(row[0]) or fields["gender"] not in ("m", "f"):
            raise DataError(
                "malformed speaker",
                path=path,
                line=number,
                found=repr(" ".join(row)),
                expected="id, ..., m or f, ..., set",
            )
        speakers[row[0]] = fields
    return speakers


def _sources(root: Path, name: str, first_digit: str, meta_dirs: Sequence[Path]) -> list[Source]:
    """The audio files of VoxCeleb1 (all) or VoxCeleb2 (dev), an utterance once where it exists as wav and m4a."""
    folders = _speaker_folders(root)
    if not folders:
        raise DataError(
            "no speakers", path=root, expected="folders id10001/VIDEO/00001.wav, perhaps below dev/wav or dev/aac"
        )
    meta_name = f"{name.split('_')[0]}_meta.csv"
    meta_path = next((folder / meta_name for folder in meta_dirs if (folder / meta_name).is_file()), None)
    meta = {} if meta_path is None else _read_meta(meta_path)
    if meta_path is None:
        logging.info("%s: no %s, so no spk2gender", root, meta_name)
    sources: dict[str, Source] = {}
    for folder in folders:
        spk = folder.name
        if spk[2] != first_digit:
            raise DataError(
                f"speaker {spk!r} is not of {name}",
                path=folder,
                expected=f"ids like id{first_digit}0001",
                mend="check --vox1 and --vox2",
            )
        fields = meta.get(spk, {})
        in_test = any(part == "test" or part.startswith("vox2_test") for part in folder.relative_to(root).parts)
        if name == "vox2_dev" and (in_test or fields.get("set") == "test"):
            continue
        for path in find_audio(folder):
            parts = path.relative_to(os.path.abspath(folder)).with_suffix("").parts
            if len(parts) != 2:
                raise DataError("not where an utterance should be", path=path, expected=f"{spk}/VIDEO/UTT.wav or .m4a")
            utt = "-".join((spk, *parts))
            known, piped = sources.get(utt), path.suffix.lower() in FFMPEG_EXTENSIONS
            if known is not None and piped == (known.path.suffix.lower() in FFMPEG_EXTENSIONS):
                raise DataError(
                    f"utterance {utt!r} is there twice", path=path, found=f"{known.path} as well", mend="remove one"
                )
            if known is not None and piped:
                continue  # wav, which needs no pipe, is at hand
            sources[utt] = Source(utt, spk, path, fields.get("gender"))
    num_spks = len({source.spk for source in sources.values()})
    if (num_spks, len(sources)) != _SIZES[name]:
        found, whole = (
            f"{spks} speakers and {utts} utterances" for spks, utts in ((num_spks, len(sources)), _SIZES[name])
        )
        logging.warning("%s: %s, where the whole corpus has %s", root, found, whole)
    return list(sources.values())


def official_trials(path: str | os.PathLike, count: int | None = None) -> Trials:
    """Read an official list, ``1 id10270/5r0dWxy17C8/00001.wav id10270/x6uYqmx31kE/00002.wav``, with our ids.

    Args:
        path: the list.
        count: how many trials it must have; None does not check.

    Raises:
        DataError: a malformed line (by number), or another number of trials.
    """
    trials = read_trials(path)
    if trials.labels is None:
        raise DataError("trials without labels", path=path, line=1, expected="'1|0 ENROLL TEST'")
    if count is not None and len(trials) != count:
        raise DataError(
            "not the official list, by its length",
            path=path,
            found=f"{len(trials)} trials",
            expected=f"{count}",
            mend=f"take the list from {_LISTS_AT}, or pass --no-check-counts",
        )
    ids: dict[str, str] = {}
    for number, sides in enumerate(zip(trials.enroll, trials.test, strict=True), 1):
        for side in sides:
            if side not in ids:
                match = _TRIAL_SIDE.fullmatch(side)
                if match is None:
                    raise DataError(
                        "malformed trial", path=path, line=number, found=repr(side), expected="idNNNNN/VIDEO/UTT.wav"
                    )
                ids[side] = "-".join(match.groups())
    return Trials([ids[side] for side in trials.enroll], [ids[side] for side in trials.test], trials.labels)


def _check_utts(path: Path, trials: Trials, utts: set[str]) -> None:
    for number, sides in enumerate(zip(trials.enroll, trials.test, strict=True), 1):
        for side in sides:
            if side not in utts:
                raise DataError(
                    f"utterance {side!r} is not in the corpus",
                    path=path,
                    line=number,
                    mend="put dev and test of VoxCeleb1 below --vox1 (E and H need both), or choose --lists",
                )


def prepare_voxceleb(
    out_dir: str | os.PathLike,
    *,
    vox1: str | os.PathLike | None = None,
    vox2: str | os.PathLike | None = None,
    trials_dir: str | os.PathLike | None = None,
    lists: Sequence[str] = ("o", "e", "h"),
    check_counts: bool = True,
    skip_bad: bool = False,
    num_threads: int | None = None,
) -> dict[str, DataDir]:
    """Write *out_dir*/vox1 (dev and test), *out_dir*/vox2_dev and *out_dir*/trials/vox1_LIST.

    wav is used where it lies; m4a becomes a pipe through ffmpeg, and is decoded once here for its exact
    length, which utt2dur and the manifest then share; a killed run goes on where it was.

    Args:
        out_dir: where all goes.
        vox1: VoxCeleb1: idNNNNN folders up to four levels below it (``wav/``, ``dev/wav`` and ``test/wav`` ...).
        vox2: VoxCeleb2, likewise (``dev/aac`` or ``dev/wav``); its test speakers are left out, known by a
            folder ``test`` or by vox2_meta.csv.
        trials_dir: where the official lists are; None looks in *vox1* and its folders trials and meta.
        lists: which of :data:`TRIAL_LISTS` to make: ``o``, ``e``, ``h`` (cleaned), ``o_original`` ...
        check_counts: insist on the number of trials of the official lists.
        skip_bad: leave out unreadable and empty files, with a warning each.
        num_threads: how many files are read at a time.

    Returns:
        the data directories written, by name.

    Raises:
        DataError: neither corpus is given, it is laid out otherwise, or a trial list is missing, malformed,
            of another length, or names an utterance that is not there (file and line are named).
        AudioError: a file is unreadable or empty.
    """
    if vox1 is None and vox2 is None:
        raise DataError("nothing to prepare", mend="give --vox1, --vox2 or both")
    out_dir = Path(out_dir)
    extra = [] if trials_dir is None else [Path(trials_dir)]
    corpora, trials = {}, {}
    for name, root, first_digit in (("vox1", vox1, "1"), ("vox2_dev", vox2, "0")):
        if root is not None:
            root = Path(root)
            corpora[name] = _sources(root, name, first_digit, [root, *extra, root.parent])
    if vox1 is not None:
        places = extra or [Path(vox1), Path(vox1) / "trials", Path(vox1) / "meta"]
        utts = {source.utt for source in corpora["vox1"]}
        for key in lists:
            count, names = TRIAL_LISTS[key]
            path = next((place / name for place in places for name in names if (place / name).is_file()), None)
            if path is None:
                raise DataError(
                    "no official trial list",
                    path=places[0],
                    expected=" or ".join(names),
                    mend=f"get it from {_LISTS_AT}/{names[0]} and name its folder by --trials-dir, or choose --lists",
                )
            trials[key] = path, official_trials(path, count if check_counts else None)
            _check_utts(*trials[key], utts)
    written = {}
    for name, sources in corpora.items():
        data_dir = out_dir / name
        utterances = take_in(sources, data_dir, skip_bad=skip_bad, num_threads=num_threads, desc=f"reading {name}")
        for path, made in trials.values() if name == "vox1" and len(utterances) < len(sources) else ():
            _check_utts(path, made, {u.utt for u in utterances})
        written[name] = finish_data_dir(data_dir, utterances)
    if trials:
        (out_dir / "trials").mkdir(parents=True, exist_ok=True)
    for key, (_, made) in trials.items():
        write_trials(out_dir / "trials" / f"vox1_{key}", made)
        logging.info("%s: %d trials", out_dir / "trials" / f"vox1_{key}", len(made))
    return written
