"""The report: systems compared in a table, in figures, and on one HTML page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from svtk.errors import DataError
from svtk.kaldi.text import write_text

__all__ = ["write_report"]

log = logging.getLogger(__name__)


def write_report(
    inputs: Sequence[str],
    output: str | None,
    form: str,
    *,
    title: str | None = None,
    trials: Sequence[str] = (),
    data_dirs: Sequence[str] = (),
    num_bootstrap: int = 0,
    systems: Sequence[str] = (),
    by: Sequence[str] = (),
    missing: str = "error",
) -> str | None:
    """Make a report; its text is returned where there is no *output*.

    Args:
        inputs: one EXP_DIR, or score files.
        output: a file, or the directory of the figures; None: nowhere.
        form: ``text``, ``md``, ``html``, or the figures' file type: ``svg``, ``png``, ``pdf``.
        title: the headline.
        trials, data_dirs, num_bootstrap, systems, by, missing: as :func:`svtk.score.report.contents.read_contents`.

    Raises:
        DataError, ModelError: what is there cannot be read or does not fit together.
        SvtkError: matplotlib or Jinja is not installed.
    """
    if form in ("text", "md") and not trials and len(inputs) == 1 and Path(inputs[0]).is_dir():
        from svtk.score.report.experiment import read_experiment

        rows = read_experiment(inputs[0], systems)  # without what figures need
    else:
        from svtk.score.report.contents import read_contents

        contents = read_contents(inputs, trials, data_dirs, num_bootstrap, systems, by, missing)
        rows = contents.rows
    if form in ("svg", "png", "pdf"):
        from svtk.score.report.drawings import drawings
        from svtk.score.report.figures import save_figure

        directory = Path(output)
        if directory.exists() and not directory.is_dir():
            raise DataError("not a directory", path=directory, mend="name the directory of the figures last")
        directory.mkdir(parents=True, exist_ok=True)
        for drawing in drawings(contents):
            path = directory / f"{drawing.name}.{form}"
            save_figure(drawing.draw, path, form)
            log.info("%s: %s", path, drawing.title)
        return None
    if form == "html":
        from svtk.score.report.page import render_page

        text = render_page(contents, title, Path(output).parent if output else Path())
    else:
        from svtk.score.report.table import format_table

        text = format_table(rows, form, title)
    if output is None:
        return text
    write_text(output, text.split("\n"))
    log.info("%s: %d rows", output, len(rows))
    return None
