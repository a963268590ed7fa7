"""``svtk report``."""

from __future__ import annotations

import click


@click.command(epilog="\b\nExample:\n  svtk report --format md exp/demo")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "md"]),
    default="text",
    show_default=True,
    help="Aligned text or Markdown.",
)
@click.option("--title", help="A line above the table.")
@click.argument("exp_dir")
def command(style: str, title: str | None, exp_dir: str) -> None:
    """Print one table of an experiment's systems.

    EXP_DIR holds one directory per system, as the recipe leaves them; what is not there yet shows as "-".
    """
    from svtk.score.report.experiment import read_experiment
    from svtk.score.report.table import format_table

    click.echo(format_table(read_experiment(exp_dir), style, title))
