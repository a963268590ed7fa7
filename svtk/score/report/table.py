"""The table of systems, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from svtk.score.report.experiment import Row

__all__ = ["format_table"]

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
_NAMES = 2  # columns that are names
_DURATION = 3.0  # seconds of audio the MACs of the header are for


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def _cells(row: Row) -> tuple[str, ...]:
    """The row as text, ``-`` for what is missing."""
    macs = _number(row.macs, 3, 1e-9)
    if row.macs is not None and row.duration not in (None, _DURATION):
        macs += f" in {row.duration:g} s"
    return (
        row.system,
        row.trials or "-",
        _number(row.eer, 2, 100),
        _number(row.min_dcf.get("0.05"), 3),
        _number(row.min_dcf.get("0.01"), 3),
        _number(row.parameters, 2, 1e-6),
        macs,
        _number(row.seconds, 0),
    )


def format_table(rows: Sequence[Row], style: str = "text", title: str | None = None) -> str:
    """The rows as aligned ``text`` or as a Markdown table (``md``), names to the left, numbers to the right."""
    table = [_HEADER, *map(_cells, rows)]
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]

    def aligned(cells: Sequence[str]) -> list[str]:
        padded = zip(cells, widths, strict=True)
        return [cell.ljust(width) if i < _NAMES else cell.rjust(width) for i, (cell, width) in enumerate(padded)]

    lines = [] if title is None else [title, ""]
    if style == "md":
        rule = ["-" * width if i < _NAMES else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        lines += [f"| {' | '.join(cells)} |" for cells in (aligned(table[0]), rule, *map(aligned, table[1:]))]
    else:
        lines += ["  ".join(aligned(cells)).rstrip() for cells in table]
        lines.insert(len(lines) - len(rows), "  ".join("-" * width for width in widths))
    return "\n".join(lines)
