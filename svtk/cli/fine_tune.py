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
    epilog="\b\nExample:\n  svtk fine-tune --config conf/voxceleb_lmft.yaml --model exp/sv_mixer \\\n"
    "    --valid data/valid --valid-trials data/trials/valid data/train exp/sv_mixer_lmft"
)
@config_options
@click.option("--model", required=True, type=existing_dir, help="MODEL_DIR to go on from.")
@validation_options
@seed_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, model, valid, valid_trials, noise, seed, device, data_dir, model_dir):
    """Fine-tune a trained model with longer crops and a larger margin.

    The model of DATA_DIR's speakers is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.fine_tune import fine_tune
    from svtk.train.run import Run

    run = Run(data_dir, valid, valid_trials, model_dir, noise, seed, device)
    fine_tune(load_config(config, overrides), run, model=model, path=config)
