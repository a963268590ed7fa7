"""``svtk calibrate``."""

from __future__ import annotations

import click

from svtk.cli._calibration import calibration_options, train_or_apply


@click.command(
    epilog="\b\nExample:\n"
    "  svtk calibrate --log-quality data/dev/utt2dur exp/dev/scores data/dev/trials exp/calibration\n"
    "  svtk calibrate --apply exp/calibration --log-quality data/test/utt2dur exp/test/scores exp/test/llrs"
)
@calibration_options
@click.argument("files", nargs=-1, required=True, metavar="SCORES TRIALS CALIBRATION | SCORES LLRS")
def command(
    trained: str | None,
    p_target: float | None,
    quality: tuple[str, ...],
    log_quality: tuple[str, ...],
    missing: str,
    missing_list: str | None,
    files: tuple[str, ...],
) -> None:
    """Turn scores into log-likelihood ratios.

    Trains on SCORES and the labels of TRIALS and writes CALIBRATION, a JSON file: the weights of an affine map,
    by prior-weighted logistic regression. With --apply, maps the scores of any other list to natural
    log-likelihood ratios, LLRS. Quality measures have to be given again, in the same order, for its utterances.
    """
    train_or_apply(trained, p_target, quality, log_quality, missing, missing_list, files, 1)
