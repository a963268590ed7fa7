"""``svtk report``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, existing_file
from svtk.cli._provenance import provenance_of


@click.command(
    epilog="\b\nExample:\n"
    "  svtk report --format md exp/demo\n"
    "  svtk report --trials data/demo/trials --data-dir data/demo/test exp/demo exp/demo/report.html\n"
    "  svtk report --trials data/trials/test a.scores b.scores report.html\n"
    "  svtk report --format pdf --trials data/demo/trials exp/demo figures"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md", "html", "svg", "png", "pdf"]),
    help="Aligned text (the default), Markdown, a page, or figures in a directory; known from OUTPUT's ending too.",
)
@click.option("--title", help="The headline.")
@click.option(
    "--trials",
    multiple=True,
    type=click.Path(exists=True),
    help="Labelled trial list, or a directory of some; may be given several times.",
)
@click.option(
    "--data-dir",
    "data_dirs",
    multiple=True,
    type=existing_dir,
    help="Data directory of the trials' utterances, for confidence intervals, groups and audio; several may be given.",
)
@click.option(
    "--num-bootstrap",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Resamples of the speakers for confidence intervals; 0: no intervals.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    help="Of EXP_DIR only this system; several in the order given.  [default: all, the largest first]",
)
@click.option(
    "--by",
    multiple=True,
    type=existing_file,
    help="Also by group: a file of lines KEY VALUE or ENROLL TEST VALUE, as in compute-metrics; several may be given.",
)
@click.option(
    "--missing",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Scores without a trial and trials without a score: an error, or left out and said.",
)
@click.argument("arguments", nargs=-1, required=True, metavar="EXP_DIR|SCORES... [OUTPUT]")
def command(
    form: str | None,
    title: str | None,
    trials: tuple[str, ...],
    data_dirs: tuple[str, ...],
    num_bootstrap: int,
    systems: tuple[str, ...],
    by: tuple[str, ...],
    missing: str,
    arguments: tuple[str, ...],
) -> None:
    """Compare systems: a table, figures, one HTML page.

    EXP_DIR holds one directory per system, as the recipe leaves them; what is not there yet shows as "-". With
    --trials, the lists that the recipe scored, the page has curves, histograms and the worst errors. SCORES are
    files of "enroll test score" lines, of any origin.

    OUTPUT is a name in .html or .md, or the directory of the figures (--format svg, png or pdf); the page is
    self-contained. Without OUTPUT, the report goes to stdout.
    """
    from svtk.score.report import write_report
    from svtk.score.report.experiment import files_read
    from svtk.score.report.sources import trial_lists

    *inputs, output = arguments
    ending = {".html": "html", ".htm": "html", ".md": "md"}.get(output[output.rfind(".") :].lower())
    figures = form in ("svg", "png", "pdf")
    if not figures and ending is None:
        inputs, output = arguments, None
    elif not figures and form not in (None, ending):
        raise click.UsageError(f"--format {form} does not go with OUTPUT {output}")
    if not figures and arguments[-1].lower().endswith((".svg", ".png", ".pdf")):
        raise click.UsageError(
            f"figures go to a directory: --format {arguments[-1][-3:].lower()} EXP_DIR|SCORES... DIRECTORY"
        )
    if not inputs:
        raise click.UsageError("expected EXP_DIR or SCORES before OUTPUT")
    read = {
        "inputs": [file for path in inputs for file in files_read(path)],
        "trials": [str(path) for path in trial_lists(trials).values()],
        "data_dirs": data_dirs,
        "by": by,
    }
    with provenance_of([output] if output else [], read):
        text = write_report(
            inputs,
            output,
            form or ending or "text",
            title=title,
            trials=trials,
            data_dirs=data_dirs,
            num_bootstrap=num_bootstrap,
            systems=systems,
            by=by,
            missing=missing,
        )
    if text is not None:
        click.echo(text)
