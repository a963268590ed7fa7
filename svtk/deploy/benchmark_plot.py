"""The results of a benchmark as bars."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from svtk.deploy.benchmark import Result
from svtk.errors import ConfigError

__all__ = ["FORMATS", "plot", "require_matplotlib"]

#: endings that :func:`plot` knows
FORMATS = (".svg", ".png", ".pdf")
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # Okabe and Ito, 2008


def require_matplotlib(file: str | os.PathLike) -> None:
    """Raise ConfigError, with the *file* that needs it, unless matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("a plot needs matplotlib", path=file, mend="pip install 'svtk[report]'")


def plot(results: Sequence[Result], file: str | os.PathLike) -> None:
    """Draw the speed of each result, in seconds of audio a second; a colour for each model.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    require_matplotlib(file)
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(result.model for result in results))
    labels = [f"{r.model}  {r.engine} {r.precision}  batch {r.batch}, threads {r.threads}" for r in results]
    colours = [_COLOURS[models.index(r.model) % len(_COLOURS)] for r in results]
    figure = Figure(figsize=(9, 0.8 + 0.32 * len(results)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(labels, [1 / r.rtf for r in results], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("seconds of audio per second")
    axes.spines[["top", "right"]].set_visible(False)
    file = Path(file)
    part = file.with_name(file.name + ".part")
    figure.savefig(part, format=file.suffix[1:])
    os.replace(part, file)
