"""What ``svtk calibrate`` and ``svtk fuse`` share: options, and what becomes of the file names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from svtk.cli._missing import missing_options
from svtk.cli._provenance import SCORES, output_files, provenance_of


def calibration_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--apply``, ``--p-target``, ``--quality``, ``--log-quality`` and ``--missing``."""
    options = (
        click.option("--apply", "trained", metavar="FILE", help="Apply what an earlier run wrote to FILE."),
        click.option(
            "--p-target",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            help="Prior of a target trial that training aims at.  [default: 0.5]",
        ),
        click.option(
            "--quality",
            metavar="FILE",
            multiple=True,
            help="Lines 'utt value...', such as magnitudes or normalize-scores --stats: further inputs, the lower "
            "and the higher value of the two sides.",
        ),
        click.option(
            "--log-quality",
            metavar="FILE",
            multiple=True,
            help="The same, by the values' logarithms: durations (utt2dur).",
        ),
        missing_options("quality measures (or, in training, scores)"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def train_or_apply(
    trained: str | None,
    p_target: float | None,
    quality: tuple[str, ...],
    log_quality: tuple[str, ...],
    missing: str,
    missing_list: str | None,
    files: tuple[str, ...],
    num_systems: int | None,
) -> None:
    """Train on SCORES... TRIALS OUT or, with *trained*, apply it to SCORES... OUT.

    Args:
        files: the words of the command line.
        num_systems: how many score files there have to be; None: two or more.
    """
    num_scores = len(files) - (2 if trained is None else 1)
    if num_scores < 2 if num_systems is None else num_scores != num_systems:
        systems = "SCORES SCORES..." if num_systems is None else "SCORES"
        expected = f"{systems} TRIALS OUT" if trained is None else f"{systems} LLRS after --apply FILE"
        raise click.UsageError(f"found {len(files)} file name(s), expected {expected}")
    if trained is not None and p_target is not None:
        raise click.UsageError("--p-target is for training: --apply takes what was trained")
    from svtk.score.calibration_files import Quality, apply_calibration, train_calibration_files

    scores = files[:num_scores]
    inputs = {"scores": scores, "quality": quality, "log_quality": log_quality}
    if trained is None:
        p_target = 0.5 if p_target is None else p_target
        record = provenance_of(output_files(files[-1]), {**inputs, "trials": files[-2]}, p_target=p_target)
    else:
        record = provenance_of(output_files(files[-1]), {**inputs, "trained": trained}, max_hashed_output=SCORES)
    with record:
        measures = [Quality.read(name) for name in quality] + [Quality.read(name, True) for name in log_quality]
        options = {"quality": measures, "missing": missing, "missing_list": missing_list}
        if trained is None:
            train_calibration_files(scores, files[-2], files[-1], p_target=p_target, **options)
        else:
            apply_calibration(trained, scores, files[-1], **options)
