"""MUSAN, RIRS_NOISES, or any folders of noises and impulse responses made into data directories."""

from __future__ import annotations

import os
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.datadir import DataDir
from svtk.prepare.folder import clean, finish_data_dir
from svtk.prepare.sources import Source, find_audio, take_in

__all__ = ["prepare_noise"]

_MUSAN = ("noise", "music", "speech")
_SIMULATED, _REAL = "simulated_rirs", "real_rirs_isotropic_noises"


def _below(root: Path, *names: str) -> Path:
    """The corpus's own folder where *root* is the one that holds it."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def _noises(musan: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Kind -> [(base, audio file)]: MUSAN's three kinds (Snyder et al., 2015), or just ``noise`` for a plain folder."""
    root = _below(musan, "musan")
    kinds = [kind for kind in _MUSAN if (root / kind).is_dir()]
    if not kinds:
        return {"noise": [(root, path) for path in find_audio(root)]}
    return {kind: [(root / kind, path) for path in find_audio(root / kind)] for kind in kinds}


def _impulse_responses(rirs: Path) -> list[tuple[Path, Path]]:
    """Audio files that are impulse responses, with the base they are named from.

    Of RIRS_NOISES (OpenSLR 28) these are all of ``simulated_rirs`` and, of ``real_rirs_isotropic_noises``,
    those in its ``rir_list``; its noises are left aside. In a plain folder, every file.
    """
    root = _below(rirs, "RIRS_NOISES")
    if not (root / _SIMULATED).is_dir() and not (root / _REAL).is_dir():
        return [(root, path) for path in find_audio(root)]
    files = find_audio(root / _SIMULATED) if (root / _SIMULATED).is_dir() else []
    if (root / _REAL).is_dir():
        real = find_audio(root / _REAL)
        rir_list = root / _REAL / "rir_list"
        if rir_list.is_file():
            lines = rir_list.read_text(encoding="utf-8").splitlines()
            listed = {os.path.basename(line.split()[-1]) for line in lines if line.strip()}
            real = [path for path in real if path.name in listed]
        else:
            real = [path for path in real if "noise" not in path.stem]
        files += real
    return [(root, path) for path in files]


def prepare_noise(
    out_dir: str | os.PathLike,
    *,
    musan: str | os.PathLike | None = None,
    rirs: str | os.PathLike | None = None,
    convert: bool = True,
    skip_bad: bool = False,
) -> dict[str, DataDir]:
    """Write *out_dir*/{noise,music,speech} from *musan* and *out_dir*/rirs from *rirs*, whichever are given.

    Each is a data directory in which every recording is its own speaker, as in Kaldi's recipes. Of an impulse
    response with several channels the first is taken: their mean would be no room's response.

    Args:
        out_dir: where the data directories go.
        musan: MUSAN, the folder that holds it, or a plain folder of noises.
        rirs: RIRS_NOISES, the folder that holds it, or a plain folder of impulse responses.
        convert, skip_bad: see :func:`svtk.prepare.sources.take_in`.

    Returns:
        what was written, by name.

    Raises:
        DataError: neither corpus is given, or one holds no audio.
        AudioError: a file is unreadable, empty, or of another format where *convert* is off.
    """
    if musan is None and rirs is None:
        raise DataError("nothing to prepare", mend="give --musan, --rirs or both")
    kinds = {} if musan is None else _noises(Path(os.path.abspath(musan)))
    if rirs is not None:
        kinds["rirs"] = _impulse_responses(Path(os.path.abspath(rirs)))
    for kind, files in kinds.items():
        if not files:
            raise DataError(f"no audio files for {kind}", path=rirs if kind == "rirs" else musan)
    written = {}
    for kind, files in kinds.items():
        utts = ["-".join(clean(part) for part in path.relative_to(base).with_suffix("").parts) for base, path in files]
        sources = [Source(utt, utt, path) for utt, (_, path) in zip(utts, files, strict=True)]
        data_dir = Path(out_dir) / kind
        utterances = take_in(
            sources,
            data_dir,
            convert=convert,
            channel=0 if kind == "rirs" else None,
            skip_bad=skip_bad,
            desc=f"reading {kind}",
        )
        written[kind] = finish_data_dir(data_dir, utterances)
    return written
