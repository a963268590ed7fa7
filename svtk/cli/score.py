"""``svtk score``."""

from __future__ import annotations

import click

from svtk.cli._options import no_pipes_option


@click.command(
    epilog="\b\nExample:\n  svtk score data/trials/vox1_o scp:exp/embeddings.scp scp:exp/embeddings.scp exp/scores\n"
    "  svtk score trials scp:exp/enroll.scp 'ark:copy-vector ark:test.txt ark:- |' -"
)
@click.option(
    "--mean", metavar="FILE|RSPECIFIER", help="Subtract this vector, or the mean of this table, from both sides first."
)
@no_pipes_option
@click.argument("trials")
@click.argument("enroll_rspecifier")
@click.argument("test_rspecifier")
@click.argument("scores")
def command(mean: str | None, trials: str, enroll_rspecifier: str, test_rspecifier: str, scores: str) -> None:
    """Score trials by cosine similarity.

    The score is the cosine of the length-normalised embeddings. Reads the trial list TRIALS (labels are
    ignored) and the embeddings of both sides, which may be the same table; writes "enroll test score" lines
    in the list's order to SCORES.

    TRIALS may also be - (stdin) or "command |", SCORES - (stdout) or "| command".
    """
    from svtk.kaldi.trials import write_scores
    from svtk.score.cosine import score_trials

    write_scores(scores, score_trials(trials, enroll_rspecifier, test_rspecifier, mean))
