"""The table of systems, as text and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from svtk.score.report.experiment import Row

__all__ = ["format_table"]

_DURATION = 3.0  # seconds of audio the MACs of the header are for


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def _macs(row: Row) -> str:
    macs = _number(row.macs, 3, 1e-9)
    return macs if row.macs is None or row.duration in (None, _DURATION) else f"{macs} in {row.duration:g} s"


def _interval(row: Row) -> str:
    return "-" if row.eer_interval is None else " to ".join(_number(rate, 2, 100) for rate in row.eer_interval)


_NAMES: dict[str, Callable[[Row], str]] = {"system": lambda row: row.system, "trials": lambda row: row.trials or "-"}
_FIGURES: dict[str, Callable[[Row], str]] = {
    "EER %": lambda row: _number(row.eer, 2, 100),
    "minDCF 0.05": lambda row: _number(row.min_dcf.get("0.05"), 3),
    "minDCF 0.01": lambda row: _number(row.min_dcf.get("0.01"), 3),
    "parameters (M)": lambda row: _number(row.parameters, 2, 1e-6),
    f"MACs per {_DURATION:g} s (G)": _macs,
    "training (s)": lambda row: _number(row.seconds, 0),
}
_FURTHER: dict[str, Callable[[Row], str]] = {  # of Markdown, where a row has them
    "95 % interval of EER": _interval,
    "Cllr": lambda row: _number(row.cllr, 3),
    "minCllr": lambda row: _number(row.min_cllr, 3),
    "real-time factor": lambda row: _number(row.rtf, 4),
}


def format_table(rows: Sequence[Row], style: str = "text", title: str | None = None) -> str:
    """The rows as aligned ``text`` or as a Markdown table (``md``), names to the left, numbers to the right."""
    further = {} if style == "text" else _FURTHER
    columns = {
        **_NAMES,
        **_FIGURES,
        **{n: text for n, text in further.items() if any(text(row) != "-" for row in rows)},
    }
    table = [list(columns), *([text(row) for text in columns.values()] for row in rows)]
    if style == "md":  # names are no markup
        table = [[re.sub(r"([|<&])", r"\\\1", cell) for cell in cells] for cells in table]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]

    def aligned(cells: Sequence[str]) -> list[str]:
        padded = zip(cells, widths, strict=True)
        return [cell.ljust(width) if i < len(_NAMES) else cell.rjust(width) for i, (cell, width) in enumerate(padded)]

    lines = [] if title is None else [title, ""]
    if style == "md":
        rule = ["-" * width if i < len(_NAMES) else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        lines += [f"| {' | '.join(cells)} |" for cells in (aligned(table[0]), rule, *map(aligned, table[1:]))]
    else:
        lines += ["  ".join(aligned(cells)).rstrip() for cells in table]
        lines.insert(len(lines) - len(rows), "  ".join("-" * width for width in widths))
    return "\n".join(lines)
