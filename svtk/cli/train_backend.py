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
    epilog="\b\nExample:\n  svtk train-backend --config conf/backend_linear.yaml --student exp/sv_mixer \\\n"
    "    --valid data/valid --valid-trials data/trials/valid data/train exp/sv_mixer_linear"
)
@config_options
@click.option("--student", required=True, type=existing_dir, help="MODEL_DIR whose encoder is kept, frozen.")
@validation_options
@seed_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, student, valid, valid_trials, noise, seed, device, data_dir, model_dir):
    """Train another backend on the frozen encoder of a model.

    Encoder and new backend are written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.backend import train_backend
    from svtk.train.run import Run

    run = Run(data_dir, valid, valid_trials, model_dir, noise, seed, device)
    train_backend(load_config(config, overrides), run, student=student, path=config)
