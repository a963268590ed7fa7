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
    epilog="\b\nExample:\n  svtk train-teacher --config conf/demo_teacher.yaml --valid data/valid \\\n"
    "    --valid-trials data/trials/valid data/train exp/teacher"
)
@config_options
@click.option("--encoder", help="Pretrained encoder (hub name, directory or YAML): train only a backend on it.")
@validation_options
@seed_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, encoder, valid, valid_trials, noise, seed, device, data_dir, model_dir):
    """Train a teacher: a small WavLM, or a backend on a pretrained encoder.

    The model of DATA_DIR's speakers is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.run import Run
    from svtk.train.teacher import train_teacher

    run = Run(data_dir, valid, valid_trials, model_dir, noise, seed, device)
    train_teacher(load_config(config, overrides), run, encoder=encoder, path=config)
