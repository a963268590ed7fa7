"""Which figures a report has, what they are called and what their captions say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from svtk.score.report import figures
from svtk.score.report.contents import Contents

__all__ = ["Drawing", "drawings"]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure: ``name`` is its file's, ``trials`` the list it is of, or None, and ``draw()`` makes it."""

    name: str
    trials: str | None
    title: str
    caption: str
    draw: Callable[[], Any]


def drawings(contents: Contents) -> list[Drawing]:
    """The figures that there is something to draw for."""
    drawn = []
    for number, trials in enumerate(dict.fromkeys(row.list_name for row in contents.rows if row.list_name)):
        word = re.sub(r"[^\w.-]", "_", trials)
        drawn += _of_list(trials, word if word == trials else f"{word}_{number}", contents)
    trained = [system for system in contents.systems if any({"epoch", "loss"} <= e.keys() for e in system.history)]
    if trained:
        title, caption = "Training", "Loss of each epoch, and EER on the validation trials where it was measured."
        drawn.append(
            Drawing("training", None, title, caption, partial(figures.draw_training, trained, contents.colors))
        )
    summed = [system for system in contents.systems if system.layer_weights]
    if summed:
        title = "Learned layer weights"
        caption = "What share of each hidden state of the encoder the backend takes; the shares of a model sum to 1."
        drawn.append(Drawing("layers", None, title, caption, partial(figures.draw_layers, summed, contents.colors)))
    return drawn


def _of_list(trials: str, word: str, contents: Contents) -> list[Drawing]:
    evaluations = [e for e in contents.evaluations if e.trials == trials]
    rows = [row for row in contents.rows if row.list_name == trials and row.eer is not None]
    colors = contents.colors
    drawn = []
    if evaluations:
        caption = "Misses against false alarms at every threshold, on probit axes. Dots: equal error rates."
        if any(e.band is not None for e in evaluations):
            caption += " Bands: 95 % confidence, from resampling speakers."
        if any(e.variant for e in evaluations):
            caption += " Dashed: normalised scores."
        draw = partial(figures.draw_det, evaluations, colors)
        drawn.append(Drawing(f"det_{word}", trials, "DET curves", caption, draw))
    if len({row.parameters for row in rows if row.parameters is not None}) > 1:
        caption = "Equal error rate by number of parameters and by compute; lower left is better."
        draw = partial(figures.draw_sizes, rows, colors)
        drawn.append(Drawing(f"sizes_{word}", trials, "Size against error rate", caption, draw))
    if evaluations:
        caption = "Density of the scores of each class. Vertical line: threshold of the equal error rate."
        draw = partial(figures.draw_histograms, evaluations)
        drawn.append(Drawing(f"scores_{word}", trials, "Scores", caption, draw))
        for grouping in dict.fromkeys(group.grouping for e in evaluations for group in e.groups):
            caption = "Equal error rate of each group of trials, every group with a threshold of its own."
            if any(group.interval for e in evaluations for group in e.groups):
                caption += " Lines: 95 % confidence."
            draw = partial(figures.draw_groups, evaluations, grouping, colors)
            name = re.sub(r"[^\w.-]", "_", grouping)
            drawn.append(Drawing(f"groups_{name}_{word}", trials, f"By {grouping}", caption, draw))
    return drawn
