from __future__ import annotations

import click

from svtk.cli._options import config_options, existing_dir, run_options, validation_options
from svtk.cli._provenance import training_provenance


@click.command(
    epilog="\b\nExample:\n  svtk distill --config conf/demo_distill_sv_mixer.yaml --train data/train \\\n"
    "    --valid data/valid --valid-trials data/trials/valid --targets exp/targets exp/sv_mixer"
)
@config_options
@click.option("--train", "train_dir", required=True, type=existing_dir, help="Training data directory.")
@validation_options
@click.option("--teacher", help="Teacher (hub name, directory or YAML), run in the loop.")
@click.option(
    "--targets", type=existing_dir, help="Output of extract-targets; with --teacher, of some of the utterances."
)
@click.option(
    "--teacher-embeddings",
    metavar="RSPECIFIER",
    help="Any system's embedding of each training utterance, for kd_losses embedding_cosine and embedding_relational.",
)
@run_options
def command(config, overrides, teacher, targets, teacher_embeddings, **run):
    """Distill a student with its backend from a teacher (OS-KDFT).

    The student is written to MODEL_DIR; a rerun resumes, or finds it done.
    """
    from svtk.config import load_config
    from svtk.train.distill import distill
    from svtk.train.run import Run

    with training_provenance(run["model_dir"]):
        distill(
            load_config(config, overrides),
            Run(**run),
            teacher=teacher,
            targets=targets,
            teacher_embeddings=teacher_embeddings,
            path=config,
        )
