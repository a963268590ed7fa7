"""What :func:`svtk.score.evaluate.evaluate` found, as aligned text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["metrics_text"]

_NONE = "-"


def metrics_text(result: dict[str, Any]) -> str:
    """Lines of text; figures of scores as log-likelihood ratios stand last."""
    confidence = result.get("confidence")
    percent = f"{100 * confidence['level']:g} %" if confidence else ""
    other = result.get("compare")
    header = ["", "value", percent, "at threshold"]
    if other:
        header = ["", "value", percent, "other", percent, "difference", percent]
    rows = []
    for label, path in _figures(result):
        rate = path[0].startswith("eer")
        row = [label, _number(_at(result, path), rate), _span(_at(result, ("interval", *path)), rate)]
        if other:
            row += [_number(_at(other, path), rate), _span(_at(other, ("interval", *path)), rate)]
            row += [_number(_at(other, ("difference", *path)), rate, "+")]
            row += [_span(_at(other, ("difference_interval", *path)), rate, "+")]
        else:
            name = {"eer": "eer_threshold", "min_dcf": "min_dcf_threshold"}.get(path[0])
            threshold = None if name is None else _at(result, (name, *path[1:]))
            row.append("" if name is None else "reject all" if threshold is None else f"{threshold:.4f}")
        rows.append(row)
    lines = _aligned([header, *rows])
    if not confidence and not other:
        lines = lines[1:]  # a header that says little
    lines.append(f"trials: {result['num_targets']} target, {result['num_nontargets']} nontarget")
    if "num_unscored" in result:
        left_out = "{num_unlisted} scores without a trial, {num_unscored} trials without a score"
        lines.append(f"left out: {left_out.format_map(result)}")
    if confidence:
        what = "{num_bootstrap} draws of {num_spks} speakers, seed {seed}"
        lines.append(f"{percent} intervals: {what.format_map(confidence)}")
    for path, groups in result.get("by", {}).items():
        lines += ["", f"by {path}", *_aligned(_group_rows(result, groups, percent))]
    return "\n".join(lines)


def _figures(result: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Labels of figures, and where they stand."""
    costs = list(result["min_dcf"])
    return [
        ("EER", ("eer",)),
        ("EER (convex hull)", ("eer_convex_hull",)),
        *((f"minDCF {cost}", ("min_dcf", cost)) for cost in costs),
        ("minCllr", ("min_cllr",)),
        *((f"actDCF {cost}", ("act_dcf", cost)) for cost in costs),
        ("Cllr", ("cllr",)),
    ]


def _group_rows(result: dict[str, Any], groups: dict[str, Any], percent: str) -> list[list[str]]:
    """A header, and a row for each group; of the intervals that of EER."""
    columns = [figure for figure in _figures(result) if figure[1][0] in ("eer", "min_dcf", "cllr", "min_cllr")]
    rows = [["group", "target", "nontarget", "EER", percent, *(label for label, _ in columns[1:])]]
    for name, metrics in groups.items():
        row = [name, str(metrics["num_targets"]), str(metrics["num_nontargets"])]
        if "eer" in metrics:
            row += [_number(metrics["eer"], True), _span(_at(metrics, ("interval", "eer")), True)]
            row += [_number(_at(metrics, path), False) for _, path in columns[1:]]
        else:
            row += [_NONE, _NONE if percent else "", *(_NONE for _ in columns[1:])]
        rows.append(row)
    return rows


def _at(mapping: dict[str, Any], path: Sequence[str]) -> Any:
    """What stands there, or None."""
    found: Any = mapping
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _number(value: float | None, rate: bool, sign: str = "") -> str:
    """None is infinite, and of a difference, which has a *sign*, none."""
    if value is None:
        return _NONE if sign else "inf"
    return f"{100 * value:{sign}.2f} %" if rate else f"{value:{sign}.4f}"


def _span(ends: list[float | None] | None, rate: bool, sign: str = "") -> str:
    if ends is None:
        return ""
    if ends[0] is None:
        return _NONE
    return " ... ".join(_number(end, rate, sign).removesuffix(" %") for end in ends)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns two spaces apart, the first to the left, the others to the right; empty columns left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    padded = [
        [cell.rjust(width) if i else cell.ljust(width) for cell in column]
        for i, (column, width) in enumerate((column, max(map(len, column))) for column in columns)
    ]
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
