from __future__ import annotations

import click

from svtk.cli._options import config_options, existing_dir, training_options
from svtk.cli._provenance import training_provenance


@click.command(
    epilog="\b\nExample:\n  svtk train-backend --config conf/backend_linear.yaml --student exp/sv_mixer \\\n"
    "    --valid data/valid --valid-trials data/trials/valid data/train exp/sv_mixer_linear"
)
@config_options
@click.option("--student", required=True, type=existing_dir, help="MODEL_DIR whose encoder is kept, frozen.")
@training_options
def command(config, overrides, student, **run):
    """Train another backend on the frozen encoder of a model.

    Encoder and new backend are written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.backend import train_backend
    from svtk.train.run import Run

    with training_provenance(run["model_dir"]):
        train_backend(load_config(config, overrides), Run(**run), student=student, path=config)
