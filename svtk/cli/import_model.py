"""``svtk import-model``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_file
from svtk.cli._provenance import provenance_of


@click.command(
    epilog="\b\nExample:\n"
    "  svtk import-model svmixer_5layer_eer0.91_student_model.pt svmixer_5layer_eer0.91_classifier.pt exp/authors\n"
    "  svtk import-model WavLM-Large.pt models/wavlm-large\n"
    "  svtk import-model --name-map my_names.yaml student.ckpt exp/student"
)
@click.option(
    "--name-map",
    metavar="FILE",
    type=existing_file,
    help="YAML of further rules, 'rules: [{from: REGEX, to: NAME, how: same}]', which come before the known ones; "
    "'to: null' leaves a weight out.",
)
@click.option("--list", "every", is_flag=True, help="Name every weight, not only those without a place.")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...", type=existing_file)
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(name_map, every, checkpoints, out_dir):
    """Make a model of a checkpoint that others trained.

    Known are the SV-Mixer authors' torch.hub state dicts (github.com/Jungwoo4021/SV-Mixer: encoder, and ECAPA-TDNN
    classifier), which become a MODEL_DIR, and WavLM as unilm and s3prl keep it, which becomes a directory for --teacher
    and --encoder. Prints what became of the weights; one that the model needs and the checkpoint lacks is an error.
    """
    import logging

    from svtk.models.import_checkpoint import import_checkpoint

    with provenance_of([out_dir], {"checkpoint": list(checkpoints), "name_map": name_map}):
        imported = import_checkpoint(checkpoints, out_dir, name_map, told=lambda report: click.echo(report.text(every)))
    if imported.layout == "sv_mixer_hub" and not imported.has_backend:
        logging.warning(
            "%s has no trained backend: give the classifier's checkpoint too, or train one "
            "(svtk train-backend --student %s ...)",
            out_dir,
            out_dir,
        )
