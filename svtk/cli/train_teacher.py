from __future__ import annotations

import click

from svtk.cli._options import config_options, training_options
from svtk.cli._provenance import training_provenance


@click.command(
    epilog="\b\nExample:\n  svtk train-teacher --config conf/demo_teacher.yaml --valid data/valid \\\n"
    "    --valid-trials data/trials/valid data/train exp/teacher"
)
@config_options
@click.option("--encoder", help="Pretrained encoder (hub name, directory or YAML): train only a backend on it.")
@training_options
def command(config, overrides, encoder, **run):
    """Train a teacher: a small WavLM, or a backend on a pretrained encoder.

    The model of DATA_DIR's speakers is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.run import Run
    from svtk.train.teacher import train_teacher

    with training_provenance(run["model_dir"]):
        train_teacher(load_config(config, overrides), Run(**run), encoder=encoder, path=config)
