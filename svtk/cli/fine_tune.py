from __future__ import annotations

import click

from svtk.cli._options import config_options, existing_dir, training_options
from svtk.cli._provenance import training_provenance


@click.command(
    epilog="\b\nExample:\n  svtk fine-tune --config conf/voxceleb_lmft.yaml --model exp/sv_mixer \\\n"
    "    --valid data/valid --valid-trials data/trials/valid data/train exp/sv_mixer_lmft"
)
@config_options
@click.option("--model", required=True, type=existing_dir, help="MODEL_DIR to go on from.")
@training_options
def command(config, overrides, model, **run):
    """Fine-tune a trained model with longer crops and a larger margin.

    The model of DATA_DIR's speakers is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.fine_tune import fine_tune
    from svtk.train.run import Run

    with training_provenance(run["model_dir"]):
        fine_tune(load_config(config, overrides), Run(**run), model=model, path=config)
