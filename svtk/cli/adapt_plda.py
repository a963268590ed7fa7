"""``svtk adapt-plda``."""

from __future__ import annotations

import click

from svtk.cli._options import no_pipes_option
from svtk.cli._provenance import output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk adapt-plda --mean scp:exp/new/embeddings.scp --lda exp/transform.mat \\\n"
    "    exp/plda scp:exp/new/embeddings.scp exp/new/plda"
)
@click.option("--mean", metavar="FILE|RSPECIFIER", help="Subtract this vector, or the mean of this table, first.")
@click.option("--lda", metavar="FILE", help="LDA to apply: what train-plda --lda-out wrote, or Kaldi's transform.mat.")
@click.option(
    "--length-norm/--no-length-norm", default=True, show_default=True, help="Scale to length sqrt(dimension)."
)
@click.option(
    "--within-covar-scale",
    type=click.FloatRange(min=0),
    default=0.3,
    show_default=True,
    help="Share of the excess variance that goes to that within speakers.",
)
@click.option(
    "--between-covar-scale",
    type=click.FloatRange(min=0),
    default=0.7,
    show_default=True,
    help="Share of the excess variance that goes to that between speakers.",
)
@click.option(
    "--mean-diff-scale",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="How much the distance of the two means counts as variance.",
)
@click.option("--binary/--text", default=True, show_default=True, help="Layout of PLDA_OUT.")
@no_pipes_option
@click.argument("plda")
@click.argument("rspecifier")
@click.argument("plda_out")
def command(
    mean: str | None,
    lda: str | None,
    length_norm: bool,
    within_covar_scale: float,
    between_covar_scale: float,
    mean_diff_scale: float,
    binary: bool,
    plda: str,
    rspecifier: str,
    plda_out: str,
) -> None:
    """Adapt PLDA to embeddings of another domain, without speaker labels.

    After Kaldi's ivector-adapt-plda: the mean becomes that of the embeddings, and where they vary more than the
    model says, the excess is shared out. Prepare them (--mean, --lda, --length-norm) as in training.
    """
    from svtk.score.plda_files import adapt_plda_files

    inputs = {"plda": plda, "embeddings": rspecifier, "mean": mean, "lda": lda}
    with provenance_of(output_files(plda_out), inputs):
        adapt_plda_files(
            plda,
            rspecifier,
            plda_out,
            mean=mean,
            lda=lda,
            length_norm=length_norm,
            within_covar_scale=within_covar_scale,
            between_covar_scale=between_covar_scale,
            mean_diff_scale=mean_diff_scale,
            text=not binary,
        )
