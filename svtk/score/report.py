"""One table of all systems of an experiment directory, from the small JSON files its stages left there.

::

    EXP_DIR/SYSTEM/config.yaml              a system is a directory with one of these
    EXP_DIR/SYSTEM/size.json                svtk describe --json
    EXP_DIR/SYSTEM/train.json               written by training
    EXP_DIR/SYSTEM/eval_TRIALS/metrics.json svtk compute-metrics --json
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from svtk.errors import DataError

__all__ = ["Row", "format_table", "read_experiment"]

_HEADER = (
    "system",
    "trials",
    "EER %",
    "minDCF 0.05",
    "minDCF 0.01",
    "parameters (M)",
    "MACs per 3 s (G)",
    "training (s)",
)
_DURATION = 3.0  # seconds of audio the MACs of the header are for


@dataclasses.dataclass(frozen=True)
class Row:
    """One system on one trial list; None for what is not there (yet).

    ``eer`` in [0, 1], ``min_dcf`` by p_target as text, ``macs`` for ``duration`` seconds of audio.
    """

    system: str
    trials: str | None = None
    eer: float | None = None
    min_dcf: dict[str, float] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    duration: float | None = None
    seconds: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The row as text, ``-`` for what is missing."""

        def number(value: float | None, digits: int, scale: float = 1.0) -> str:
            return "-" if value is None else f"{value * scale:.{digits}f}"

        macs = number(self.macs, 3, 1e-9)
        if self.macs is not None and self.duration not in (None, _DURATION):
            macs += f" in {self.duration:g} s"
        return (
            self.system,
            self.trials or "-",
            number(self.eer, 2, 100),
            number(self.min_dcf.get("0.05"), 3),
            number(self.min_dcf.get("0.01"), 3),
            number(self.parameters, 2, 1e-6),
            macs,
            number(self.seconds, 0),
        )


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
        raise DataError("not valid JSON", path=path, line=line, found=str(error), mend="run its stage again") from error
    if not isinstance(mapping, dict):
        raise DataError("not a JSON object", path=path, found=type(mapping).__name__, mend="run its stage again")
    for key in numbers:
        value = mapping.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DataError(f"{key!r} is not a number", path=path, found=repr(value), mend="run its stage again")
    return mapping


def read_experiment(exp_dir: str | os.PathLike) -> list[Row]:
    """The rows of an experiment directory: by trial list, and the largest system first within one.

    Raises:
        DataError: no such directory, no system in it, or a damaged JSON file.
    """
    exp_dir = Path(exp_dir)
    if not exp_dir.is_dir():
        raise DataError("no such experiment directory", path=exp_dir, mend="run the recipe first")
    rows: list[Row] = []
    for system in sorted(path for path in exp_dir.iterdir() if path.is_dir()):
        evaluations = sorted(path for path in system.glob("eval_*") if path.is_dir())
        if not evaluations and not any((system / name).exists() for name in ("config.yaml", "size.json", "train.json")):
            continue
        size = _read_json(system / "size.json", ("parameters", "macs", "duration"))
        training = _read_json(system / "train.json", ("seconds",))
        row = Row(
            system.name,
            parameters=size.get("parameters"),
            macs=size.get("macs"),
            duration=size.get("duration"),
            seconds=training.get("seconds"),
        )
        for evaluation in evaluations:
            path = evaluation / "metrics.json"
            metrics = _read_json(path, ("eer",))
            costs = metrics.get("min_dcf", {})
            if not isinstance(costs, dict) or not all(isinstance(cost, (int, float)) for cost in costs.values()):
                what = "'min_dcf' is not a mapping of numbers"
                raise DataError(what, path=path, found=repr(costs), mend="run svtk compute-metrics again")
            trials = evaluation.name.removeprefix("eval_")
            rows.append(dataclasses.replace(row, trials=trials, eer=metrics.get("eer"), min_dcf=costs))
        if not evaluations:
            rows.append(row)
    if not rows:
        expected = "SYSTEM/config.yaml or SYSTEM/eval_TRIALS/metrics.json"
        raise DataError("no systems found", path=exp_dir, expected=expected, mend="run the recipe first")
    return sorted(rows, key=lambda r: (r.trials is None, r.trials or "", -(r.parameters or 0), r.system))


def format_table(rows: Sequence[Row], style: str = "text", title: str | None = None) -> str:
    """The rows as aligned ``text`` or as a Markdown table (``md``), names to the left, numbers to the right."""
    table = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    names = 2  # columns that are names

    def aligned(cells: Sequence[str]) -> list[str]:
        padded = zip(cells, widths, strict=True)
        return [cell.ljust(width) if i < names else cell.rjust(width) for i, (cell, width) in enumerate(padded)]

    lines = [] if title is None else [title, ""]
    if style == "md":
        rule = ["-" * width if i < names else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        lines += [f"| {' | '.join(cells)} |" for cells in (aligned(table[0]), rule, *map(aligned, table[1:]))]
    else:
        lines += ["  ".join(aligned(cells)).rstrip() for cells in table]
        lines.insert(len(lines) - len(rows), "  ".join("-" * width for width in widths))
    return "\n".join(lines)
