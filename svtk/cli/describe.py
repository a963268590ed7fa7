from __future__ import annotations

import click


@click.command(
    epilog="\b\nExample:\n  svtk describe conf/distill_sv_mixer.yaml\n"
    "  svtk describe --json exp/sv_mixer > exp/sv_mixer/size.json"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--duration", default=3.0, show_default=True, help="Seconds of audio to count MACs for.")
@click.argument("source", metavar="MODEL_DIR|CONFIG", type=click.Path(exists=True))
def command(as_json, duration, source):
    """Count parameters and MACs of a model or a configuration."""
    import json

    from svtk.deploy.describe import describe, format_description

    description = describe(source, duration)
    click.echo(json.dumps(description, indent=1) if as_json else format_description(description))
