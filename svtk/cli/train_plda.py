"""``svtk train-plda``."""

from __future__ import annotations

import click

from svtk.cli._options import no_pipes_option
from svtk.cli._provenance import output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk train-plda --mean-out exp/mean.vec --lda-dim 150 --lda-out exp/transform.mat \\\n"
    "    data/vox2_dev/spk2utt scp:exp/embeddings.scp exp/plda"
)
@click.option("--mean-out", metavar="FILE", help="Subtract the embeddings' mean first; write it here (mean.vec).")
@click.option("--lda-dim", type=click.IntRange(min=1), help="Reduce to this dimension by LDA; needs --lda-out.")
@click.option("--lda-out", metavar="FILE", help="Write the LDA here (transform.mat); needs --lda-dim.")
@click.option(
    "--total-covariance-factor",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the total covariance in what LDA makes the identity; 0: within speakers only.",
)
@click.option(
    "--length-norm/--no-length-norm", default=True, show_default=True, help="Scale to length sqrt(dimension)."
)
@click.option(
    "--num-iters", type=click.IntRange(min=1), default=10, show_default=True, help="Iterations of EM, as Kaldi's."
)
@click.option("--binary/--text", default=True, show_default=True, help="Layout of PLDA.")
@no_pipes_option
@click.argument("spk2utt")
@click.argument("rspecifier")
@click.argument("plda")
def command(
    mean_out: str | None,
    lda_dim: int | None,
    lda_out: str | None,
    total_covariance_factor: float,
    length_norm: bool,
    num_iters: int,
    binary: bool,
    spk2utt: str,
    rspecifier: str,
    plda: str,
) -> None:
    """Train PLDA on embeddings of known speakers.

    SPK2UTT may be an utt2spk file too. Writes PLDA in Kaldi's own layout, after ivector-compute-plda. Whatever
    was done before it (--mean-out, --lda-out, --length-norm) has to be done to the embeddings that are scored.
    """
    if (lda_dim is None) != (lda_out is None):
        raise click.UsageError("--lda-dim and --lda-out go together")
    from svtk.score.plda_files import train_plda_files

    written = [file for name in (plda, mean_out, lda_out) if name is not None for file in output_files(name)]
    with provenance_of(written, {"spk2utt": spk2utt, "embeddings": rspecifier}):
        train_plda_files(
            spk2utt,
            rspecifier,
            plda,
            mean_out=mean_out,
            lda_out=lda_out,
            lda_dim=lda_dim,
            total_covariance_factor=total_covariance_factor,
            length_norm=length_norm,
            num_iters=num_iters,
            text=not binary,
        )
