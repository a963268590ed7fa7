"""``svtk fuse``."""

from __future__ import annotations

import click

from svtk.cli._calibration import calibration_options, train_or_apply


@click.command(
    epilog="\b\nExample:\n"
    "  svtk fuse exp/a/dev_scores exp/b/dev_scores data/dev/trials exp/fusion\n"
    "  svtk fuse --apply exp/fusion exp/a/test_scores exp/b/test_scores exp/test_llrs"
)
@calibration_options
@click.argument("files", nargs=-1, required=True, metavar="SCORES SCORES... TRIALS FUSION | SCORES SCORES... LLRS")
def command(
    trained: str | None,
    p_target: float | None,
    quality: tuple[str, ...],
    log_quality: tuple[str, ...],
    missing: str,
    missing_list: str | None,
    files: tuple[str, ...],
) -> None:
    """Fuse the scores of several systems into log-likelihood ratios.

    Trains on the systems' SCORES of one trial list, in the same order, and writes FUSION, a JSON file: a weight
    per system and an offset, by prior-weighted logistic regression. With --apply, fuses the same systems' scores
    of any other list, LLRS: natural log-likelihood ratios. Quality measures are as with svtk calibrate.
    """
    train_or_apply(trained, p_target, quality, log_quality, missing, missing_list, files, None)
