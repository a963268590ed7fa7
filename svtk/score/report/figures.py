"""The report's figures, drawn by matplotlib: the same for the page, as inline SVG, and for a paper, as files.

A system has one colour in all figures; its normalised scores are drawn dashed.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from svtk.errors import SvtkError
from svtk.score.report.evaluation import Evaluation, Histogram
from svtk.score.report.experiment import Row, System

__all__ = [
    "INK",
    "MUTED",
    "PALETTE",
    "RULE",
    "draw_det",
    "draw_groups",
    "draw_histograms",
    "draw_layers",
    "draw_sizes",
    "draw_training",
    "save_figure",
    "styled",
    "subplots",
    "tag",
    "to_svg",
]

#: Okabe and Ito's colours, which colour-blind people tell apart, the pale ones last; then three of Tol's.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A", "#882255", "#999933", "#44AA99")
INK, MUTED, RULE = "#1c2330", "#5b6472", "#dfe3e8"  # the page replaces them by its own, for light and dark
TARGET, NONTARGET = "#7B5EA7", "#8C95A1"  # no system's
_WIDTH = 4.7  # inches
_RATES = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    0.9,
)  # that axes are marked at
_ERRORS_SHOWN = 5  # axes end where so few errors of the one kind are left
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "auto",
    "svg.hashsalt": "svtk",
}


class Colors(dict[str, str]):
    """The colour of each system, by name; the same in all figures."""

    def __init__(self, systems: Sequence[str]):
        super().__init__({name: PALETTE[i % len(PALETTE)] for i, name in enumerate(systems)})


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A function that draws in the house's style."""

    @functools.wraps(draw)
    def drawing(*args: Any) -> Any:
        try:
            from matplotlib import rc_context
        except ImportError as error:
            mend = "pip install matplotlib, or svtk with its extra: 'svtk[report]'"
            raise SvtkError("figures need matplotlib, which is not installed", mend=mend) from error
        with rc_context(_STYLE):
            return draw(*args)

    return drawing


def subplots(rows: int = 1, columns: int = 1, height: float = 3.6, **how: Any) -> tuple[Any, Any]:
    """A figure, *height* inches high, and its axes, an array (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **how)


def _legend(
    figure: Any, systems: Iterable[str], variants: Iterable[str], colors: Mapping[str, str], marker: str
) -> None:
    """A legend above the plots: each system by its colour, each variant by dashes or, with a *marker*, hollow dots."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none" if marker else "-", "marker": marker, "markersize": 5}
    entries = [(name, {**style, "color": colors[name]}) for name in dict.fromkeys(systems)]
    style |= {"color": MUTED, "markerfacecolor": "none"} | ({} if marker else {"linestyle": "--"})
    entries += [(variant, style) for variant in dict.fromkeys(variants) if variant]
    # matplotlib leaves out what begins with an underscore; a space of no width is before it
    handles = [Line2D([], [], label=f"\u200b{name}" if name.startswith("_") else name, **how) for name, how in entries]
    columns = int(_WIDTH / (0.5 + 0.07 * max(len(name) for name, _ in entries)))  # inches
    figure.legend(handles=handles, loc="outside upper left", ncols=min(3, max(1, columns)))


def _legend_of(figure: Any, items: Sequence[Evaluation | Row], colors: Mapping[str, str], marker: str) -> None:
    _legend(figure, [item.system for item in items], [item.variant for item in items], colors, marker)


def _percent(rate: float) -> str:
    return f"{100 * rate:g}"


def tag(artist, key: str) -> None:
    """Mark a curve as that of the series *key*, for the page to find; quoted as in a URL."""
    artist.set_gid(f"series:{quote(key, safe='')}")


def _low_end(evaluations: Sequence[Evaluation], high: float, of: str, other: str) -> float:
    """Where the axis of the rates *of* begins: at the curves' ends, or where few errors are left."""
    lowest = []
    for evaluation in evaluations:
        rates, others = getattr(evaluation.det, of), getattr(evaluation.det, other)
        number = evaluation.metrics.num_targets if of == "miss" else evaluation.metrics.num_nontargets
        shown = max(float(rates[others <= high].min()), _ERRORS_SHOWN / number)
        lowest.append(min(shown, evaluation.metrics.eer / 2 or shown))
    return max((rate for rate in _RATES if rate <= min(*lowest, high / 5)), default=_RATES[0])


@styled
def draw_det(evaluations: Sequence[Evaluation], colors: Mapping[str, str]):
    """Misses against false alarms on probit axes, where normally distributed scores give straight lines.

    A band is what P_miss may be at the same P_fa; the dot on each curve is its EER.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    from scipy.special import ndtri

    high = min((rate for rate in _RATES if rate >= max(0.05, 4 * max(e.metrics.eer for e in evaluations))), default=0.9)
    lows = [_low_end(evaluations, high, *kinds) for kinds in (("false_alarm", "miss"), ("miss", "false_alarm"))]
    lengths = [float(ndtri(high) - ndtri(low)) for low in lows]
    figure, [[axes]] = subplots(height=0.8 + 4.1 * min(1.2, lengths[1] / lengths[0]))

    def scaled(rates: np.ndarray) -> np.ndarray:
        return ndtri(np.clip(rates, 0.1 * min(lows), 1 - 1e-4))

    for evaluation in evaluations:
        color, dashed = colors[evaluation.system], bool(evaluation.variant)
        if evaluation.band is not None and not dashed:
            band = evaluation.band
            inside = scaled(band.false_alarm), scaled(band.low), scaled(band.high)
            tag(axes.fill_between(*inside, color=color, alpha=0.1, linewidth=0), evaluation.label)
        style = "--" if dashed else "-"
        curve = scaled(evaluation.det.false_alarm), scaled(evaluation.det.miss)
        (line,) = axes.plot(*curve, style, color=color)
        tag(line, evaluation.label)
        (dot,) = axes.plot(
            *[ndtri(np.clip(evaluation.metrics.eer, min(lows), high))] * 2, "o", color=color, markersize=4
        )
        tag(dot, evaluation.label)
    diagonal = ndtri([max(lows), high])
    axes.plot(diagonal, diagonal, color=MUTED, linewidth=0.6, linestyle=(0, (2, 3)))
    axes.set(aspect="equal", xlabel="false alarms (%)", ylabel="misses (%)")
    for axis, low in zip((axes.xaxis, axes.yaxis), lows, strict=True):
        shown = [rate for rate in _RATES if low <= rate <= high]
        axis.set_ticks(ndtri(shown), [_percent(rate) for rate in shown])
    axes.set_xlim(*ndtri([lows[0], high]))
    axes.set_ylim(*ndtri([lows[1], high]))
    _legend_of(figure, evaluations, colors, "")
    return figure


@styled
def draw_histograms(evaluations: Sequence[Evaluation]):
    """Density of the scores of each class, a panel for each system; the line marks the threshold of the EER."""
    columns = 2 if len(evaluations) > 1 else 1
    rows = -(-len(evaluations) // columns)
    figure, grid = subplots(rows, columns, height=0.4 + (1.55 if columns > 1 else 2.6) * rows)
    for axes, evaluation in zip(grid.flat, evaluations, strict=False):
        histogram: Histogram = evaluation.histogram
        for name, density, color in (
            ("nontarget", histogram.nontargets, NONTARGET),
            ("target", histogram.targets, TARGET),
        ):
            axes.stairs(density, histogram.edges, fill=True, color=color, alpha=0.28)
            axes.stairs(density, histogram.edges, color=color, linewidth=1.1, label=name)
        if histogram.edges[0] <= evaluation.metrics.eer_threshold <= histogram.edges[-1]:
            axes.axvline(evaluation.metrics.eer_threshold, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_title(evaluation.label)
        axes.set_yticks([])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    for axes in grid.flat[len(evaluations) :]:
        axes.set_visible(False)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper right", ncols=2)
    figure.supxlabel("score", fontsize=9, color=MUTED)
    return figure


@styled
def draw_groups(evaluations: Sequence[Evaluation], grouping: str, colors: Mapping[str, str]):
    """EER of each group of trials, with its interval where there is one."""
    values = list(dict.fromkeys(group.value for e in evaluations for group in e.groups if group.grouping == grouping))
    evaluations = [e for e in evaluations if any(group.grouping == grouping for group in e.groups)]
    height = 0.9 + len(values) * (0.2 + 0.15 * len(evaluations))
    figure, [[axes]] = subplots(height=height)
    for number, evaluation in enumerate(evaluations):
        shift = (number - (len(evaluations) - 1) / 2) * 0.7 / len(evaluations)
        for group in evaluation.groups:
            if group.grouping != grouping:
                continue
            y = values.index(group.value) + shift
            color = colors[evaluation.system]
            if group.interval is not None:
                axes.plot(100 * np.array(group.interval), [y, y], color=color, linewidth=1.2, alpha=0.6)
            face = "none" if evaluation.variant else color
            (dot,) = axes.plot(100 * group.eer, y, "o", color=color, markerfacecolor=face, markersize=4.5)
            tag(dot, evaluation.label)
    axes.set_yticks(range(len(values)), values)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlim(left=0)
    axes.set_xlabel("EER (%)")
    _legend_of(figure, evaluations, colors, "o")
    return figure


@styled
def draw_sizes(rows: Sequence[Row], colors: Mapping[str, str]):
    """EER against parameters and against MACs (the paper's Figure 5): lower left is better."""
    values = (("parameters (M)", 1e-6, "parameters"), ("MACs (G)", 1e-9, "macs"))
    values = [value for value in values if any(getattr(row, value[2]) is not None for row in rows)]
    figure, [panels] = subplots(1, len(values), height=3.2, sharey=True)
    for axes, (label, scale, name) in zip(panels, values, strict=True):
        points = [(getattr(row, name) * scale, 100 * row.eer, row) for row in rows if getattr(row, name) is not None]
        for x, y, row in points:
            face = "none" if row.variant else colors[row.system]
            (dot,) = axes.plot(x, y, "o", color=colors[row.system], markerfacecolor=face, markersize=6)
            tag(dot, row.label)
            if row.eer_interval is not None:
                low, high = (100 * rate for rate in row.eer_interval)
                axes.plot([x, x], [low, high], color=colors[row.system], linewidth=1, alpha=0.5)
        axes.set_xlabel(label)
        sizes = [x for x, _, _ in points]
        if sizes and max(sizes) > 8 * min(sizes):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        elif sizes:
            axes.set_xlim(0, 1.15 * max(sizes))
    panels[0].set_ylabel("EER (%)")
    panels[0].margins(y=0.15)
    _legend_of(figure, rows, colors, "o")
    return figure


@styled
def draw_training(systems: Sequence[System], colors: Mapping[str, str]):
    """Training loss and validation EER by epoch."""
    figure, [panels] = subplots(1, 2, height=2.9)
    for axes, (key, scale, label) in zip(
        panels, (("loss", 1.0, "training loss"), ("eer", 100.0, "validation EER (%)")), strict=True
    ):
        for system in systems:
            points = [
                (epoch["epoch"], scale * epoch[key]) for epoch in system.history if {"epoch", key} <= epoch.keys()
            ]
            if points:
                marker = "o" if len(points) < 25 else ""
                (line,) = axes.plot(
                    *zip(*points, strict=True),
                    color=colors[system.name],
                    marker=marker,
                    markersize=3,
                )
                tag(line, system.name)
        axes.set(xlabel="epoch", title=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, [system.name for system in systems], (), colors, "")
    return figure


@styled
def draw_layers(systems: Sequence[System], colors: Mapping[str, str]):
    """How much of each hidden state the backend takes: its learned weights, which sum to 1."""
    figure, [[axes]] = subplots(height=2.9)
    dashed = []
    for system in systems:
        *others, last = system.layer_weights  # MHFA has two sums: of keys and of values
        dashed += others
        for name, weights in system.layer_weights.items():
            style = "-" if name == last else "--"
            (line,) = axes.plot(weights, style, color=colors[system.name], marker="o", markersize=3)
            tag(line, system.name)
    axes.set(xlabel="hidden state (0: the encoder's input)", ylabel="weight")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, [system.name for system in systems], dashed, colors, "")
    return figure


def _rendered(figure, form: str, fonttype: str) -> bytes:
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context({**_STYLE, "svg.fonttype": fonttype}), warnings.catch_warnings():
        # Said for every figure: that its font lacks a letter of a name, which a page shows by another.
        warnings.filterwarnings("ignore" if fonttype == "none" else "once", message="Glyph .* missing")
        dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
        figure.savefig(file, format=form, dpi=200, metadata=dates.get(form))
    return file.getvalue()


def to_svg(figure) -> str:
    """The figure as SVG for a page: text stays text, in the page's font."""
    return _rendered(figure, "svg", "none").decode()


def save_figure(draw: Callable[[], object], path: str | os.PathLike, form: str) -> None:
    """Write a figure as ``svg``, ``png`` or ``pdf`` on white ground; appears whole."""
    figure = draw()
    figure.set_facecolor("white")
    part = f"{os.fspath(path)}.part"
    with open(part, "wb") as file:
        file.write(_rendered(figure, form, "path"))
    os.replace(part, path)
