"""``svtk pack``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, existing_file


@click.command(
    epilog="\b\nExample:\n  svtk pack --license apache-2.0 --name me/sv-mixer exp/demo/sv_mixer packed/sv-mixer\n"
    "  svtk verify packed/sv-mixer a.wav b.wav\n"
    "  hf upload me/sv-mixer packed/sv-mixer"
)
@click.option("--name", help="What the model card calls it: best its name on the hub.  [default: OUT_DIR's name]")
@click.option("--license", metavar="ID", help="Licence of the weights, by the hub's identifier: apache-2.0, cc-by-4.0.")
@click.option(
    "--calibration",
    metavar="FILE",
    type=existing_file,
    help="What calibrate trained on this model's scores.  [default: MODEL_DIR/calibration.json or valid/calibration]",
)
@click.option("--keep-source", is_flag=True, help="Of a teacher: no copy of an encoder that lies elsewhere.")
@click.argument("model_dir", type=existing_dir)
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(name, license, calibration, keep_source, model_dir, out_dir):
    """Gather a model into a directory that travels.

    OUT_DIR holds configuration, weights, calibration, provenance, and a model card, README.md, made from what is known:
    sizes, training, and the results of eval_*/metrics.json. It stands where a MODEL_DIR does, and the Hugging Face Hub
    takes it as it is. A teacher's encoder goes with it.
    """
    from svtk.deploy.pack import pack

    pack(model_dir, out_dir, name=name, license=license, calibration=calibration, keep_source=keep_source)
