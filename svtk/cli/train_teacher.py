from __future__ import annotations

import click

from svtk.cli._options import config_options, device_option, existing_dir, existing_file, seed_option


@click.command(
    epilog="\b\nExample:\n  svtk train-teacher --config conf/demo_teacher.yaml --valid data/valid \\\n"
    "    --valid-trials data/trials/valid data/train exp/teacher"
)
@config_options
@click.option("--encoder", help="Pretrained encoder (hub name or directory): train only a backend on it.")
@click.option("--valid", required=True, type=existing_dir, help="Validation data directory.")
@click.option("--valid-trials", required=True, type=existing_file, help="Labelled trials over it.")
@click.option("--noise", type=existing_dir, help="Output of prepare-noise, for augmentation.")
@seed_option
@device_option
@click.argument("data_dir", type=existing_dir)
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, encoder, valid, valid_trials, noise, seed, device, data_dir, model_dir):
    """Train a teacher: a small WavLM, or a backend on a pretrained encoder.

    The model of DATA_DIR's speakers is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.teacher import train_teacher

    train_teacher(
        load_config(config, overrides),
        train_dir=data_dir,
        valid_dir=valid,
        valid_trials=valid_trials,
        model_dir=model_dir,
        encoder=encoder,
        noise=noise,
        seed=seed,
        device=device,
        path=config,
    )
