"""``svtk normalize-scores``."""

from __future__ import annotations

import os

import click

from svtk.cli._missing import missing_options
from svtk.cli._options import no_pipes_option
from svtk.cli._provenance import SCORES, output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n"
    "  svtk normalize-scores --cohort scp:exp/vox2_dev.scp --cohort-spk2utt data/vox2_dev/spk2utt \\\n"
    "    --stats exp/vox1_stats exp/scores scp:exp/vox1.scp scp:exp/vox1.scp exp/scores_asnorm"
)
@click.option("--cohort", metavar="RSPECIFIER", required=True, help="Embeddings of the cohort: of other speakers.")
@click.option(
    "--cohort-spk2utt", metavar="FILE", help="Use the mean embedding of each of these speakers as the cohort."
)
@click.option(
    "--method",
    type=click.Choice(["as-norm", "s-norm", "z-norm", "t-norm"]),
    default="as-norm",
    show_default=True,
    help="as-norm and s-norm: the mean of both sides; z-norm: enrolment; t-norm: test.",
)
@click.option(
    "--top-n",
    type=click.IntRange(min=2),
    help="as-norm: of how many highest cohort scores mean and deviation are taken.  [default: 300]",
)
@click.option("--mean", metavar="FILE|RSPECIFIER", help="Subtract this first, as given to svtk score.")
@click.option(
    "--stats", metavar="FILE", help="Take statistics from FILE (utt [ mean std ]), where it exists; save them there."
)
@missing_options("embeddings")
@no_pipes_option
@click.argument("scores")
@click.argument("enroll_rspecifier")
@click.argument("test_rspecifier")
@click.argument("normalized")
def command(
    cohort: str,
    cohort_spk2utt: str | None,
    method: str,
    top_n: int | None,
    mean: str | None,
    stats: str | None,
    missing: str,
    missing_list: str | None,
    scores: str,
    enroll_rspecifier: str,
    test_rspecifier: str,
    normalized: str,
) -> None:
    """Normalise cosine scores by a cohort.

    Every score becomes its distance, in standard deviations, from the mean of what its two sides score against
    the cohort. Reads "enroll test score" lines from SCORES (- is stdin) and writes the same, in the same order,
    to NORMALIZED (- is stdout). The cohort should hold none of the speakers to be scored: an utterance's own
    entry, or its speaker's, is not left out.
    """
    if method != "as-norm" and top_n is not None:
        raise click.UsageError(f"--top-n is for as-norm: {method} takes the whole cohort")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: threads of ours multiply, each by itself
    from svtk.score.normalize import normalize_scores

    nearest = 300 if top_n is None else top_n
    inputs = {
        "scores": scores,
        "enroll": enroll_rspecifier,
        "test": test_rspecifier,
        "cohort": cohort,
        "cohort_spk2utt": cohort_spk2utt,
        "mean": mean,
        "stats": stats,
    }
    resolved = {"top_n": nearest} if method == "as-norm" else {}
    with provenance_of(output_files(normalized), inputs, max_hashed_output=SCORES, **resolved):
        normalize_scores(
            cohort,
            scores,
            enroll_rspecifier,
            test_rspecifier,
            normalized,
            method=method,
            top_n=nearest,
            cohort_spk2utt=cohort_spk2utt,
            mean=mean,
            statistics=stats,
            missing=missing,
            missing_list=missing_list,
        )
