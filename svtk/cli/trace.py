"""``svtk trace``."""

from __future__ import annotations

import click


@click.command(
    epilog="\b\nExample:\n  svtk trace exp/demo/sv_mixer/eval_test/metrics.json\n  svtk trace --json exp/demo/sv_mixer"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("file", metavar="FILE|MODEL_DIR")
def command(as_json: bool, file: str) -> None:
    """Print how a file was made, back to its data.

    Follows the records beside it and beside what it was made of (FILE.provenance.json, MODEL_DIR/provenance.json;
    metrics hold their own): command lines, versions, settings, and whether each input is still what it was.
    """
    import json

    from svtk.trace import format_trace, trace

    chain = trace(file)
    click.echo(json.dumps(chain.to_mapping(), ensure_ascii=False) if as_json else format_trace(chain))
