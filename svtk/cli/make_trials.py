"""``svtk make-trials``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, seed_option


@click.command(epilog="\b\nExample:\n  svtk make-trials --same-sex --num-trials 20000 data/test data/test/trials")
@click.option("--same-sex", is_flag=True, help="Pair only speakers of the same sex (harder); needs spk2gender.")
@click.option("--num-trials", type=int, help="Draw this many, half of them target trials.  [default: all pairs]")
@seed_option
@click.argument("data_dir", type=existing_dir)
@click.argument("trials", type=click.Path(dir_okay=False))
def command(same_sex: bool, num_trials: int | None, seed: int, data_dir: str, trials: str) -> None:
    """Pair the utterances of DATA_DIR into a trial list.

    Writes 'enroll test target|nontarget' lines: every pair once, or a balanced draw of --num-trials. TRIALS may
    also be - (stdout) or "| command".
    """
    import logging

    from svtk.prepare.trials import make_trials

    made = make_trials(data_dir, trials, same_sex=same_sex, num_trials=num_trials, seed=seed)
    num_targets = int(made.labels.sum())
    logging.info("%s: %d target and %d nontarget trials", trials, num_targets, len(made) - num_targets)
