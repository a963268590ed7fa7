"""The study's results as one HTML page in the style of ``svtk report``, with its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from study_report import TRIALS, Difference, Row, Study, between, origin, spread
from study_statistics import Estimate

from svtk.score.report.drawings import Drawing
from svtk.score.report.figures import INK, MUTED, Colors, styled, subplots, tag
from svtk.score.report.page import fill_page, inline_figure

_INTERVAL = "95 % interval over seeds and test speakers"


def render(study: Study, command: str) -> str:
    """The page's HTML; *command* is how its results came about."""
    colors = Colors(["teacher", *dict.fromkeys(row.config for row in study.rows.values())])
    sections = [_section(*table, study.against, colors) for table in study.tables]
    if study.differences:
        sections.append(_differences_section(study.differences, colors))
    if study.missing:
        sections.append(_missing_section(study))
    sections[-1]["records"] = [
        {"label": f"{len(results)} results", "about": f"revision {revision}, {device}", "command": command}
        for (revision, device), results in origin(study).items()
    ]
    return fill_page("The study: students, distillation, teachers", sections, lede=_lede(study))


def _lede(study: Study) -> str:
    """How much there is, and what the first comparison says."""
    if not study.differences or (found := study.differences[0].of("eer")) is None:
        return study.count
    first = study.differences[0]
    seeds = f"{first.seeds} seeds"
    what = f"{first.first.name} minus {first.second.name}: {spread(found, 100, 2)} points of EER"
    return f"{study.count} {what} (95 %: {between(found, 100, 2)}; {seeds})."


def _section(
    group: str, title: str, rows: Sequence[Row], against: Mapping[str, Difference], colors: Colors
) -> dict[str, Any]:
    """A table of one group, and its figures."""
    paper, changes = any(row.paper for row in rows), [against[row.name] for row in rows if row.name in against]
    columns = [("run", "", False), ("seeds", "how many seeds there are, of how many", False)]
    columns += [("EER %, test", _INTERVAL, True), ("EER %, same sex", _INTERVAL, True)]
    columns += [("change of EER", f"in points, trials test; {_INTERVAL}", True), ("of", "", False)] * bool(changes)
    columns += [("minDCF 0.05, test", _INTERVAL, True), ("size (M)", "millions of parameters", True)]
    columns += [("GMACs / 3 s", "billions of multiply-accumulates for 3 s of audio", True)]
    columns += [("training (s)", "by the clock, on a machine that others used, too; median of the seeds", True)]
    columns += [("CPU (s)", "of the processor, of runs that were not killed on their way; median", True)]
    columns += [("paper's EER %", "the paper's own figure, Vox1-O: VoxCeleb2, WavLM-Large, width 1024", True)] * paper
    cells = []
    for row in rows:
        of_row = [{"text": row.name, "color": colors[row.config]}, {"text": f"{len(row.results)} of {row.planned}"}]
        of_row += [_figure_cell(row.of("eer"), 100, 2), _figure_cell(row.of("eer", "test_same_sex"), 100, 2)]
        if changes:
            change = against.get(row.name)
            of_row += [
                _figure_cell(change and change.of("eer"), 100, 2),
                {"text": change.second.name if change else ""},
            ]
        of_row += [_figure_cell(row.of("min_dcf"), 1, 3), _cell(row.size("parameters"), 1e-6, 3)]
        of_row += [_cell(row.size("macs"), 1e-9, 4), _cell(row.wall_seconds, 1, 0), _cell(row.cpu_seconds, 1, 0)]
        of_row += [{"text": row.paper or "–", "number": True, "value": row.paper or ""}] * paper
        cells.append({"key": row.name, "cells": of_row})
    figures = [
        Drawing(
            f"runs_{group}",
            None,
            "Error rate of each run",
            f"Dots: seeds. Bars: their mean. Lines: {_INTERVAL}. Trials: test.",
            partial(draw_runs, rows, colors),
        )
    ]
    if changes:
        about = "Left of 0 the change has fewer errors. Dots: seeds. Lines: 95 %. Trials: test."
        figures.append(
            Drawing(f"changes_{group}", None, "Change of EER", about, partial(draw_differences, changes, colors))
        )
    if any(row.size("macs") for row in rows):
        about = "Mean EER by the processor time of one training, and by multiply-accumulates; lower left is better."
        figures.append(
            Drawing(f"cost_{group}", None, "Cost against error rate", about, partial(draw_costs, rows, colors))
        )
    return {
        "name": group,
        "heading": title,
        "columns": _headings(columns),
        "rows": cells,
        "figures": [inline_figure(drawing) for drawing in figures],
    }


def _differences_section(differences: Sequence[Difference], colors: Colors) -> dict[str, Any]:
    columns = [
        ("first − second", "", False),
        ("trials", "", False),
        ("seeds", "one by one; or of the first, of the second", False),
    ]
    columns += [("EER, points", _INTERVAL, True), ("first is", "whether the interval leaves 0 out", False)]
    columns += [("minDCF 0.05", _INTERVAL, True)]
    rows = []
    for difference in differences:
        for trials, name in TRIALS.items():
            eer, cost = difference.of("eer", trials), difference.of("min_dcf", trials)
            if eer is None or cost is None:
                continue
            label = f"{difference.first.name} − {difference.second.name}"
            cells = [{"text": label, "color": colors[difference.first.config]}, {"text": name}]
            cells += [{"text": difference.seeds}, _figure_cell(eer, 100, 2), {"text": difference.verdict(eer)}]
            rows.append({"key": label, "cells": [*cells, _figure_cell(cost, 1, 3)]})
    about = "Left of 0 the first has fewer errors. Dots: seeds. Lines: 95 % over seeds and speakers. Trials: test."
    drawing = Drawing("differences", None, "Differences", about, partial(draw_differences, differences, colors))
    return {
        "name": "differences",
        "heading": "Differences",
        "about": "Between the means of either's seeds, with the same trials and draws of speakers. One interval in "
        "twenty errs by chance.",
        "columns": _headings(columns),
        "rows": rows,
        "figures": [inline_figure(drawing)],
    }


def _missing_section(study: Study) -> dict[str, Any]:
    rows = [[{"text": row.name}, {"text": " ".join(map(str, row.missing))}] for row in study.missing]
    return {
        "name": "missing",
        "heading": "Runs that are missing",
        "about": study.count,
        "columns": _headings([("run", "", False), ("seeds", "without a result", False)]),
        "rows": [{"key": cells[0]["text"], "cells": cells} for cells in rows],
    }


def _headings(columns: Sequence[tuple[str, str, bool]]) -> list[dict[str, Any]]:
    return [{"name": name, "about": about, "number": number} for name, about, number in columns]


def _cell(value: float | None, scale: float, digits: int) -> dict[str, Any]:
    text = "–" if value is None else f"{value * scale:.{digits}f}"
    return {"number": True, "value": "" if value is None else value, "text": text}


def _figure_cell(found: Estimate | None, scale: float, digits: int) -> dict[str, Any]:
    if found is None:
        return _cell(None, scale, digits)
    cell = {**_cell(found.mean, scale, digits), "text": spread(found, scale, digits)}
    return cell if found.low is None else {**cell, "note": between(found, scale, digits)}


def _interval_line(axes: Any, found: Estimate, y: float, color: str, key: str) -> None:
    """Seeds as dots, their mean as a bar, its interval as a line; in points."""
    if found.low is not None:
        (line,) = axes.plot([100 * found.low, 100 * found.high], [y, y], color=color, linewidth=1.2, alpha=0.6)
        tag(line, key)
    (dots,) = axes.plot(
        [100 * value for value in found.values], [y] * len(found.values), "o", color=color, markersize=3.5, alpha=0.7
    )
    tag(dots, key)
    (bar,) = axes.plot([100 * found.mean], [y], "|", color=INK, markersize=10, markeredgewidth=1.6)
    tag(bar, key)


@styled
def draw_runs(rows: Sequence[Row], colors: Colors):
    """EER of each seed of each run, their mean and its interval."""
    figure, [[axes]] = subplots(height=0.7 + 0.26 * len(rows))
    for y, row in enumerate(rows):
        if (found := row.of("eer")) is not None:
            _interval_line(axes, found, y, colors[row.config], row.name)
    _names(axes, [row.name for row in rows], "EER (%)")
    return figure


@styled
def draw_differences(differences: Sequence[Difference], colors: Colors):
    """Differences of EER in points, seed by seed, their mean and its interval."""
    figure, [[axes]] = subplots(height=0.7 + 0.26 * len(differences))
    names = [f"{difference.first.name} − {difference.second.name}" for difference in differences]
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for y, (difference, name) in enumerate(zip(differences, names, strict=True)):
        if (found := difference.of("eer")) is not None:
            _interval_line(axes, found, y, colors[difference.first.config], name)
    _names(axes, names, "difference of EER (points)")
    return figure


def _names(axes: Any, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel(label)


@styled
def draw_costs(rows: Sequence[Row], colors: Colors):
    """EER against the processor time of one training, and against MACs."""
    values = {
        "training, CPU (min)": {row.name: row.cpu_seconds and row.cpu_seconds / 60 for row in rows},
        "GMACs per 3 s": {row.name: (macs := row.size("macs")) and macs * 1e-9 for row in rows},
    }
    values = {label: of for label, of in values.items() if any(of.values())}
    figure, [panels] = subplots(1, len(values), height=3.2, sharey=True)
    for axes, (label, of) in zip(panels, values.items(), strict=True):
        for row in rows:
            found = row.of("eer")
            if not of[row.name] or found is None:
                continue
            color = colors[row.config]
            if found.low is not None:
                axes.plot([of[row.name]] * 2, [100 * found.low, 100 * found.high], color=color, linewidth=1, alpha=0.4)
            (dot,) = axes.plot(of[row.name], 100 * found.mean, "o", color=color, markersize=5)
            tag(dot, row.name)
        axes.set_xlabel(label)
        axes.set_xlim(0, 1.15 * max(value for value in of.values() if value))
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_ylabel("EER (%)")
    kinds = list(dict.fromkeys(row.config for row in rows))
    handles = [panels[0].plot([], [], "o", color=colors[kind], markersize=5, label=kind)[0] for kind in kinds]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure
