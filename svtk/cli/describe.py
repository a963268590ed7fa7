from __future__ import annotations

from pathlib import Path

import click

from svtk.cli._options import ConfigPath, overrides_option


@click.command(
    epilog="\b\nExample:\n  svtk describe conf/distill_sv_mixer.yaml\n"
    "  svtk describe --set student.num_layers=17 conf/distill_sv_mixer.yaml\n"
    "  svtk describe --json exp/sv_mixer > exp/sv_mixer/size.json"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--duration", default=3.0, show_default=True, help="Seconds of audio to count MACs for.")
@click.option(
    "--student",
    metavar="MODEL_DIR|CONFIG|ENCODER",
    type=ConfigPath(exists=True),
    help="The model, or pretrained encoder, that a backend's configuration stands on.",
)
@overrides_option
@click.argument("source", metavar="MODEL_DIR|CONFIG", type=ConfigPath(exists=True))
def command(as_json, duration, student, overrides, source):
    """Count parameters, MACs and activations of a model or a configuration, part by part.

    CONFIG is a YAML file of distill, or of train-teacher with a new_model; one of train-backend, or of train-teacher
    on a pretrained encoder, with --student. A name of one of svtk's own configurations will do.
    """
    import json

    from svtk.cli._models import open_model
    from svtk.deploy.describe import describe, format_description

    if not 0 < duration < float("inf"):
        raise click.BadParameter(f"found {duration}, expected seconds", param_hint="--duration")
    if Path(source).is_dir() and overrides:
        raise click.UsageError("--set changes a configuration, and MODEL_DIR is a finished model")
    description = describe(open_model(source, student, overrides), duration)
    click.echo(json.dumps(description, indent=1) if as_json else format_description(description))
