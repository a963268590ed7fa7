"""The report as one HTML page that needs no network and holds its figures as inline SVG."""

from __future__ import annotations

import dataclasses
import datetime
import html
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from svtk import __version__
from svtk.errors import SvtkError
from svtk.score.report.contents import Contents
from svtk.score.report.drawings import Drawing, drawings
from svtk.score.report.evaluation import Evaluation
from svtk.score.report.experiment import Row
from svtk.score.report.figures import INK, MUTED, RULE, to_svg

__all__ = ["fill_page", "inline_figure", "render_page"]

_DURATION = 3.0  # seconds of audio that MACs are of


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column of numbers: its heading, what the heading means, a row's value and its text; None: not there."""

    name: str
    about: str
    value: Callable[[Row], float | None]
    text: Callable[[float], str]
    lowest_is_best: bool = True
    number: bool = True


def _decimals(digits: int, scale: float = 1.0) -> Callable[[float], str]:
    return lambda value: f"{value * scale:.{digits}f}"


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """The columns that at least one of *rows* has a number for."""
    costs = dict.fromkeys(cost for row in rows for cost in row.min_dcf)
    columns = [
        _Column("EER %", "equal error rate, with its confidence interval", lambda row: row.eer, _decimals(2, 100)),
        *(
            _Column(
                f"minDCF {cost}",
                f"least normalised detection cost at p_target = {cost}",
                lambda row, cost=cost: row.min_dcf.get(cost),
                _decimals(3),
            )
            for cost in costs
        ),
        _Column("Cllr", "cost of the calibrated log-likelihood ratios, in bits", lambda row: row.cllr, _decimals(3)),
        _Column("minCllr", "that of the best calibration of these scores", lambda row: row.min_cllr, _decimals(3)),
        _Column("size (M)", "millions of parameters", lambda row: row.parameters, _decimals(2, 1e-6), False),
        _Column(
            f"GMACs / {_DURATION:g} s",
            f"billions of multiply-accumulates for {_DURATION:g} s of audio",
            lambda row: row.macs if row.duration in (None, _DURATION) else None,
            _decimals(3, 1e-9),
            False,
        ),
        _Column(
            "RTF", "real-time factor: seconds of computing per second of audio", lambda r: r.rtf, _decimals(4), False
        ),
        _Column("training (s)", "seconds of training", lambda row: row.seconds, _decimals(0), False),
    ]
    return [column for column in columns if any(column.value(row) is not None for row in rows)]


def _cells(row: Row, columns: Sequence[_Column], best: Sequence[float | None], color: str) -> dict[str, Any]:
    name = {"text": row.label, "color": color, "dashed": bool(row.variant)}
    cells = [name]
    for column, least in zip(columns, best, strict=True):
        value = column.value(row)
        there = value is not None and math.isfinite(value)
        cell = {"number": True, "value": value if there else "", "text": column.text(value) if there else "–"}
        cell["best"] = there and value == least
        if column.name == "EER %" and row.eer_interval is not None:
            low, high = row.eer_interval
            cell["note"] = f"{100 * low:.2f}–{100 * high:.2f}"
        cells.append(cell)
    return {"key": row.label, "cells": cells}


def _table(rows: Sequence[Row], contents: Contents) -> dict[str, Any]:
    columns = _columns(rows)
    best = []
    for column in columns:
        values = [value for row in rows if (value := column.value(row)) is not None]
        best.append(min(values) if column.lowest_is_best and len(values) > 1 else None)
    system = _Column("system", "", lambda row: None, str, number=False)
    return {
        "columns": [system, *columns],
        "rows": [_cells(row, columns, best, contents.colors[row.system]) for row in rows],
    }


def _section(name: str | None, contents: Contents, drawn: Sequence[Drawing]) -> dict[str, Any]:
    """What the page shows of one trial list."""
    rows = [row for row in contents.rows if row.list_name == name]
    evaluations = [e for e in contents.evaluations if e.trials == name]
    section = {"name": name or "systems", "heading": f"Trials: {name}" if name else "Systems", **_table(rows, contents)}
    if evaluations:
        section["about"] = _about(evaluations)
    section["figures"] = [inline_figure(drawing) for drawing in drawn if drawing.trials == name]
    section["errors"] = [
        {"label": e.label, "false_alarms": e.false_alarms, "misses": e.misses} for e in evaluations if not e.variant
    ]
    section["records"] = [{"label": e.label, **_record(e.record)} for e in evaluations if e.record]
    return section


def _about(evaluations: Sequence[Evaluation]) -> str:
    """How many trials there are, and which systems were measured on others."""
    metrics = evaluations[0].metrics
    sentences = [f"{metrics.num_targets:,} target and {metrics.num_nontargets:,} nontarget trials."]
    for e in evaluations:
        counts = (e.num_unscored, "trials without a score"), (e.num_unlisted, "scores without a trial")
        if left_out := " and ".join(f"{number:,} {what}" for number, what in counts if number):
            sentences.append(f"Left out of {e.label}: {left_out}.")
    return " ".join(sentences)


def _record(record: dict[str, Any]) -> dict[str, str]:
    """What a reader wants of a score file's record; ``svtk trace`` tells the rest."""
    svtk = record.get("svtk") or {}
    revision = f", revision {svtk['revision'][:10]}" if svtk.get("revision") else ""
    words = [str(word) for word in record.get("command") or ()]
    return {
        "command": shlex.join(words),
        "about": f"{record.get('date', 'no date')}, svtk {svtk.get('version', '')}{revision}",
    }


def inline_figure(drawing: Drawing) -> dict[str, str]:
    """A figure as :func:`fill_page` takes it."""
    svg = _for_page(to_svg(drawing.draw()), drawing)
    return {"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "svg": svg}


def _for_page(svg: str, drawing: Drawing) -> str:
    """Inline SVG: ids of its own, colours that follow the page's, and curves that say whose they are."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<[^>]*>", lambda tag: _tag_for_page(tag[0], drawing.name), svg)  # text may say what it likes
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(drawing.title)}" ', 1)


def _tag_for_page(tag: str, name: str) -> str:
    if series := re.search(r'id="series:([^"]*)"', tag):
        tag = tag.replace(series[0], f'class="series" data-series="{html.escape(unquote(series[1]))}"')
    else:
        tag = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", tag)
    for color, word in ((INK, "ink"), (MUTED, "muted"), (RULE, "rule")):
        tag = tag.replace(color, f"var(--{word})")
    return tag


def _lede(contents: Contents) -> str | None:
    """One sentence that says which system is best on the first list."""
    rows = [row for row in contents.rows if row.list_name == contents.rows[0].list_name and row.eer is not None]
    if len(rows) < 2:
        return None
    best = min(rows, key=lambda row: row.eer)
    size = "" if best.parameters is None else f", with {best.parameters / 1e6:.2f} M parameters"
    return f"Lowest equal error rate on {best.list_name}: {best.label}, {100 * best.eer:.2f} %{size}."


def render_page(contents: Contents, title: str | None, page_dir: Path) -> str:
    """The page's HTML.

    Args:
        contents: what it shows.
        title: its headline.
        page_dir: where it will lie: links to audio are relative to it.
    """
    drawn = drawings(contents)
    names = dict.fromkeys(row.list_name for row in contents.rows)
    keys = {
        key
        for e in contents.evaluations
        for error in (*e.misses, *e.false_alarms)
        for key in (error.enroll, error.test)
    }
    audio = {key: link for key in keys if (link := contents.data.audio_link(key, page_dir))}
    default = "Speaker verification" + (f": {contents.name}" if contents.name else "")
    return fill_page(
        title or default,
        [_section(name, contents, drawn) for name in names],
        lede=_lede(contents),
        figures=[inline_figure(drawing) for drawing in drawn if drawing.trials is None],
        audio=audio,
    )


def fill_page(
    title: str,
    sections: Sequence[Mapping[str, Any]],
    *,
    lede: str | None = None,
    figures: Sequence[Mapping[str, str]] = (),
    audio: Mapping[str, str] | None = None,
) -> str:
    """The HTML of a page in the report's style.

    Args:
        title, lede: the headline, and a sentence below it.
        sections: as page.html reads them: ``name``, ``heading``, ``columns`` (``name``, ``about``, ``number``) and
            ``rows`` (``key``, ``cells``) of a table, and ``about``, ``figures``, ``errors``, ``records`` if any.
        figures: of models and training, at the end; made by :func:`inline_figure`, as those of a section are.
        audio: links by utterance.

    Raises:
        SvtkError: Jinja is not installed.
    """
    try:
        from jinja2 import Environment
    except ImportError as error:
        mend = "pip install jinja2, or svtk with its extra: 'svtk[report]'"
        raise SvtkError("the page needs Jinja, which is not installed", mend=mend) from error
    here = files("svtk.score.report")
    text = {name: (here / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text["page.html"])
    return template.render(
        title=title,
        lede=lede,
        css=text["page.css"],
        script=text["page.js"],
        sections=sections,
        figures=figures,
        audio=audio or {},
        version=__version__,
        date=datetime.date.today().isoformat(),
    )
