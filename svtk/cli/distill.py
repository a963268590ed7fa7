from __future__ import annotations

import click

from svtk.cli._options import config_options, device_option, existing_dir, existing_file, seed_option


@click.command(
    epilog="\b\nExample:\n  svtk distill --config conf/demo_distill_sv_mixer.yaml --train data/train \\\n"
    "    --valid data/valid --valid-trials data/trials/valid --targets exp/targets exp/sv_mixer"
)
@config_options
@click.option("--train", "train_dir", required=True, type=existing_dir, help="Training data directory.")
@click.option("--valid", required=True, type=existing_dir, help="Validation data directory.")
@click.option("--valid-trials", required=True, type=existing_file, help="Labelled trials over it.")
@click.option("--teacher", help="Teacher (hub name or directory), run in the loop.")
@click.option("--targets", type=existing_dir, help="Output of extract-targets, instead of a teacher in the loop.")
@click.option("--noise", type=existing_dir, help="Output of prepare-noise, for augmentation.")
@seed_option
@device_option
@click.argument("model_dir", type=click.Path(file_okay=False))
def command(config, overrides, train_dir, valid, valid_trials, teacher, targets, noise, seed, device, model_dir):
    """Distill a student with its backend from a teacher (OS-KDFT).

    The student is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.distill import distill

    if teacher and targets:
        raise click.UsageError("--teacher and --targets exclude each other")
    distill(
        load_config(config, overrides),
        train_dir=train_dir,
        valid_dir=valid,
        valid_trials=valid_trials,
        model_dir=model_dir,
        teacher=teacher,
        targets=targets,
        noise=noise,
        seed=seed,
        device=device,
        path=config,
    )
