"""What an experiment directory holds of its systems, read from the small files that its stages left there.

::

    EXP_DIR/SYSTEM/config.yaml                a system is a directory with one of these
    EXP_DIR/SYSTEM/size.json                  svtk describe --json
    EXP_DIR/SYSTEM/benchmark.json             svtk benchmark --json
    EXP_DIR/SYSTEM/train.json                 written by training
    EXP_DIR/SYSTEM/model.safetensors          the same; holds the learned weights of the encoder's layers
    EXP_DIR/SYSTEM/eval_TRIALS/scores         svtk score
    EXP_DIR/SYSTEM/eval_TRIALS/llrs           svtk calibrate --apply
    EXP_DIR/SYSTEM/eval_TRIALS/metrics.json   svtk compute-metrics --json
    EXP_DIR/SYSTEM/eval_TRIALS_as_norm/...    the same of normalised scores
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from svtk.errors import DataError, ModelError

__all__ = ["Row", "System", "files_read", "in_order", "label_of", "read_experiment", "read_systems", "split_variant"]

_VARIANTS = {"_as_norm": "as-norm"}  # what the names of score directories end in


def split_variant(trials: str) -> tuple[str, str]:
    """Trial list and variant of a name of an evaluation.

    >>> split_variant("vox1_o_as_norm"), split_variant("vox1_o")
    (('vox1_o', 'as-norm'), ('vox1_o', ''))
    """
    for ending, variant in _VARIANTS.items():
        if trials.endswith(ending) and trials != ending:
            return trials.removesuffix(ending), variant
    return trials, ""


def label_of(system: str, variant: str) -> str:
    """What tables and figures call scores."""
    return f"{system} + {variant}" if variant else system


@dataclasses.dataclass(frozen=True)
class Row:
    """One system on one trial list; None for what is not there (yet).

    ``eer`` and ``eer_interval`` in [0, 1], ``min_dcf`` by p_target as text, ``cllr`` and ``min_cllr`` in bits, ``macs``
    for ``duration`` seconds of audio, ``rtf``: seconds of computing per second of audio, ``seconds`` of training.
    """

    system: str
    trials: str | None = None
    eer: float | None = None
    eer_interval: tuple[float, float] | None = None
    min_dcf: dict[str, float] = dataclasses.field(default_factory=dict)
    cllr: float | None = None
    min_cllr: float | None = None
    parameters: int | None = None
    macs: int | None = None
    duration: float | None = None
    rtf: float | None = None
    seconds: float | None = None

    @property
    def list_name(self) -> str | None:
        """The trial list, whatever became of the scores."""
        return None if self.trials is None else split_variant(self.trials)[0]

    @property
    def variant(self) -> str:
        """What became of the scores: ``as-norm``, or nothing."""
        return "" if self.trials is None else split_variant(self.trials)[1]

    @property
    def label(self) -> str:
        """What figures call it."""
        return label_of(self.system, self.variant)


@dataclasses.dataclass(frozen=True)
class System:
    """One directory of an experiment.

    ``row`` holds what does not depend on trials; ``history`` is a mapping of numbers for each epoch of training;
    ``layer_weights``, float64 (L + 1,), sum to 1, by the name of the sum that learned them; ``evaluations`` are the
    directories of each TRIALS.
    """

    name: str
    row: Row
    history: list[dict[str, float]]
    layer_weights: dict[str, np.ndarray]
    evaluations: dict[str, Path]


def files_read(path: str | os.PathLike) -> list[str]:
    """What a report takes of an experiment directory, whichever systems it shows; of a file, itself."""
    if not os.path.isdir(path):
        return [os.fspath(path)]
    names = ("size.json", "benchmark.json", "train.json", "model.safetensors")
    names += tuple(f"eval_*/{name}" for name in ("scores", "llrs", "metrics.json"))
    return [str(file) for name in names for file in sorted(Path(path).glob(f"*/{name}"))]


def _damaged(what: str, path: Path, found: str, line: int | None = None) -> DataError:
    return DataError(what, path=path, line=line, found=found, mend="run its stage again")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read_json(path: Path, numbers: Sequence[str]) -> dict[str, Any]:
    """A JSON object, {} when the file is not there; *numbers* must be numbers where they stand."""
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", path=path) from error
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise _damaged("not valid JSON", path, str(error), line) from error
    if not isinstance(mapping, dict):
        raise _damaged("not a JSON object", path, type(mapping).__name__)
    for key in numbers:
        if mapping.get(key) is not None and not _is_number(mapping[key]):
            raise _damaged(f"{key!r} is not a number", path, repr(mapping[key]))
    return mapping


def _read_list(path: Path, mapping: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of mappings that stands under *key*, [] where there is none."""
    entries = mapping.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _damaged(f"{key!r} is not a list of mappings", path, repr(entries)[:60])
    return entries


def _real_time_factor(path: Path) -> float | None:
    """Of one utterance at a time, by the plain model where that was measured, on the fewest threads."""
    results = [r for r in _read_list(path, _read_json(path, ()), "results") if _is_number(r.get("rtf"))]
    results.sort(key=lambda r: (r.get("engine") != "eager", r.get("batch") != 1, r.get("threads") or 0))
    return float(results[0]["rtf"]) if results else None


def _layer_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights of every learned sum over hidden states in a model file; {} when it is not there or has none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return {}
    weights = {}
    try:
        with safe_open(os.fspath(path), framework="numpy") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (no mapping)
                if key.startswith("backend.") and key.endswith(".logits"):
                    logits = tensors.get_tensor(key).astype(np.float64)
                    if logits.ndim == 1:
                        powers = np.exp(logits - logits.max())
                        name = key.removeprefix("backend.").removesuffix(".logits")
                        weights[name] = powers / powers.sum()
    except SafetensorError as error:
        raise ModelError("not a safetensors file", path=path, found=str(error), mend="run its stage again") from error
    return weights


def _read_system(directory: Path) -> System:
    size = _read_json(directory / "size.json", ("parameters", "macs", "duration"))
    training = _read_json(directory / "train.json", ("seconds",))
    history = _read_list(directory / "train.json", training, "history")
    row = Row(
        directory.name,
        parameters=size.get("parameters"),
        macs=size.get("macs"),
        duration=size.get("duration"),
        rtf=_real_time_factor(directory / "benchmark.json"),
        seconds=training.get("seconds"),
    )
    return System(
        directory.name,
        row,
        [{key: value for key, value in epoch.items() if _is_number(value)} for epoch in history],
        _layer_weights(directory / "model.safetensors"),
        {p.name.removeprefix("eval_"): p for p in sorted(directory.glob("eval_*")) if p.is_dir()},
    )


def read_systems(exp_dir: str | os.PathLike, names: Sequence[str] = ()) -> list[System]:
    """The systems of an experiment directory, by name; with *names* only these, in this order.

    Raises:
        DataError: no such directory, no system in it or not one of *names*, or a damaged JSON file.
        ModelError: a damaged model file.
    """
    exp_dir = Path(exp_dir)
    if not exp_dir.is_dir():
        raise DataError("no such experiment directory", path=exp_dir, mend="run the recipe first")
    systems = []
    for directory in sorted(path for path in exp_dir.iterdir() if path.is_dir()):
        marks = ("config.yaml", "size.json", "train.json")
        if any(directory.glob("eval_*/")) or any((directory / name).exists() for name in marks):
            systems.append(_read_system(directory))
    if not systems:
        expected = "SYSTEM/config.yaml or SYSTEM/eval_TRIALS/metrics.json"
        raise DataError("no systems found", path=exp_dir, expected=expected, mend="run the recipe first")
    if not names:
        return systems
    by_name = {system.name: system for system in systems}
    if gone := [name for name in names if name not in by_name]:
        raise DataError("no such system", path=exp_dir, found=", ".join(gone), expected=f"some of {', '.join(by_name)}")
    return [by_name[name] for name in names]


def read_experiment(exp_dir: str | os.PathLike, names: Sequence[str] = ()) -> list[Row]:
    """The rows of an experiment directory, as :func:`in_order`; with *names* only of these systems.

    Raises:
        DataError, ModelError: as :func:`read_systems`; also damaged metrics.
    """
    rows: list[Row] = []
    for system in read_systems(exp_dir, names):
        for trials, directory in system.evaluations.items():
            rows.append(_with_metrics(dataclasses.replace(system.row, trials=trials), directory / "metrics.json"))
        if not system.evaluations:
            rows.append(system.row)
    return in_order(rows, names)


def in_order(rows: Sequence[Row], names: Sequence[str] = ()) -> list[Row]:
    """By trial list, and within one in the order of *names* or, without, the largest system first."""
    if names:
        return sorted(rows, key=lambda r: (r.trials is None, r.trials or "", names.index(r.system)))
    return sorted(rows, key=lambda r: (r.trials is None, r.trials or "", -(r.parameters or 0), r.system))


def _with_metrics(row: Row, path: Path) -> Row:
    metrics = _read_json(path, ("eer", "min_cllr"))
    costs, intervals = metrics.get("min_dcf", {}), metrics.get("interval", {})
    if not isinstance(costs, dict) or not all(map(_is_number, costs.values())):
        raise _damaged("'min_dcf' is not a mapping of numbers", path, repr(costs))
    limits = intervals.get("eer") if isinstance(intervals, dict) else intervals
    if limits is not None and not (isinstance(limits, list) and len(limits) == 2 and all(map(_is_number, limits))):
        raise _damaged("'interval' of 'eer' is not two numbers", path, repr(limits))
    return dataclasses.replace(
        row,
        eer=metrics.get("eer"),
        eer_interval=None if limits is None else (limits[0], limits[1]),
        min_dcf=costs,
        min_cllr=metrics.get("min_cllr"),
    )
