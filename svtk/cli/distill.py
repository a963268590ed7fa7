from __future__ import annotations

import click

from svtk.cli._options import (
    config_options,
    device_option,
    existing_dir,
    no_pipes_option,
    num_threads_option,
    seed_option,
    validation_options,
)


@click.command(
    epilog="\b\nExample:\n  svtk distill --config conf/demo_distill_sv_mixer.yaml --train data/train \\\n"
    "    --valid data/valid --valid-trials data/trials/valid --targets exp/targets exp/sv_mixer"
)
@config_options
@click.option("--train", "train_dir", required=True, type=existing_dir, help="Training data directory.")
@validation_options
@click.option("--teacher", help="Teacher (hub name, directory or YAML), run in the loop.")
@click.option("--targets", type=existing_dir, help="Output of extract-targets, instead of a teacher in the loop.")
@seed_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, train_dir, valid, valid_trials, teacher, targets, noise, seed, device, model_dir):
    """Distill a student with its backend from a teacher (OS-KDFT).

    The student is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.distill import distill
    from svtk.train.run import Run

    if teacher and targets:
        raise click.UsageError("--teacher and --targets exclude each other")
    run = Run(train_dir, valid, valid_trials, model_dir, noise, seed, device)
    distill(load_config(config, overrides), run, teacher=teacher, targets=targets, path=config)
