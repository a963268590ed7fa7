"""``svtk score``."""

from __future__ import annotations

import click

from svtk.cli._missing import missing_options
from svtk.cli._options import no_pipes_option
from svtk.cli._provenance import SCORES, output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk score data/trials/vox1_o scp:exp/embeddings.scp scp:exp/embeddings.scp exp/scores\n"
    "  svtk score trials scp:exp/enroll.scp 'ark:copy-vector ark:test.txt ark:- |' -\n"
    "  svtk score --method plda --plda exp/plda --enroll-spk2utt data/enroll/spk2utt \\\n"
    "    trials scp:exp/enroll.scp scp:exp/test.scp exp/scores"
)
@click.option(
    "--method",
    type=click.Choice(["cosine", "inner-product", "plda"]),
    default="cosine",
    show_default=True,
    help="inner-product: of embeddings as they are; of extract-embeddings --windows crops, the mean over all pairs "
    "of crops. plda: log-likelihood ratio, by --plda.",
)
@click.option(
    "--mean", metavar="FILE|RSPECIFIER", help="Subtract this vector, or the mean of this table, from both sides first."
)
@click.option("--transform", metavar="FILE", help="Apply this matrix next (train-plda --lda-out).")
@click.option("--plda", metavar="FILE", help="A PLDA model in Kaldi's format.")
@click.option(
    "--length-norm/--no-length-norm",
    default=None,
    help="plda: scale to length sqrt(dimension) before it, as in train-plda.  [default: length-norm]",
)
@click.option(
    "--plda-length-norm",
    type=click.Choice(["covariance", "simple", "none"]),
    help="plda: scale in the model's space by the covariance expected there, to sqrt(dimension), or not "
    "(Kaldi's --normalize-length and --simple-length-norm).  [default: covariance]",
)
@click.option(
    "--num-utts", metavar="RSPECIFIER", help="plda: of how many utterances each enrolment embedding is the mean."
)
@click.option("--enroll-spk2utt", metavar="FILE", help="Enrolment models: lines 'MODEL UTT...'; TRIALS name models.")
@click.option("--test-spk2utt", metavar="FILE", help="The same for the test side.")
@click.option(
    "--enroll-mode",
    type=click.Choice(["mean", "score-mean", "max"]),
    help="How models, of either side, are scored: by the mean of their embeddings, or by the mean or the highest of "
    "all pairs' scores.  [default: mean]",
)
@missing_options("embeddings")
@click.option(
    "--duplicates",
    type=click.Choice(["keep", "error"]),
    default="keep",
    show_default=True,
    help="Trials that stand twice: scored twice, or an error (which takes 16 bytes of memory a trial to tell).",
)
@click.option(
    "--same-utterance",
    type=click.Choice(["warn", "error"]),
    default="warn",
    show_default=True,
    help="Trials with the same utterance on both sides.",
)
@click.option(
    "--num-threads",
    type=click.IntRange(min=0),
    default=0,
    help="CPU threads; 0 or absent: the environment's (OMP_NUM_THREADS), else one per core.",
)
@no_pipes_option
@click.argument("trials")
@click.argument("enroll_rspecifier")
@click.argument("test_rspecifier")
@click.argument("scores")
def command(
    method: str,
    mean: str | None,
    transform: str | None,
    plda: str | None,
    length_norm: bool | None,
    plda_length_norm: str | None,
    num_utts: str | None,
    enroll_spk2utt: str | None,
    test_spk2utt: str | None,
    enroll_mode: str | None,
    missing: str,
    missing_list: str | None,
    duplicates: str,
    same_utterance: str,
    num_threads: int,
    trials: str,
    enroll_rspecifier: str,
    test_rspecifier: str,
    scores: str,
) -> None:
    """Score trials by cosine similarity, inner product or PLDA.

    Reads the trial list TRIALS (labels are ignored) and the embeddings of both sides, which may be the same table;
    writes "enroll test score" lines in the list's order to SCORES. Memory does not grow with the list, and the
    scores are the same for any number of threads or of parts that the list is split into.

    TRIALS may also be - (stdin) or "command |", SCORES - (stdout) or "| command".
    """
    if (method == "plda") != (plda is not None):
        raise click.UsageError("--method plda and --plda FILE go together")
    of_plda = {"--length-norm": length_norm, "--plda-length-norm": plda_length_norm, "--num-utts": num_utts}
    if plda is None and (given := [name for name, value in of_plda.items() if value is not None]):
        raise click.UsageError(f"{' and '.join(given)}: for --method plda only")
    if enroll_mode is not None and enroll_spk2utt is None and test_spk2utt is None:
        raise click.UsageError("--enroll-mode is for models: give --enroll-spk2utt or --test-spk2utt")
    if num_utts is not None and enroll_spk2utt is not None:
        raise click.UsageError(
            "--num-utts is for embeddings that are means already: --enroll-spk2utt tells the numbers"
        )
    from svtk.score.scorers import Method
    from svtk.score.trial_scores import Policies, score_trials

    inputs = {
        "trials": trials,
        "enroll": enroll_rspecifier,
        "test": test_rspecifier,
        "mean": mean,
        "transform": transform,
        "plda": plda,
        "num_utts": num_utts,
        "enroll_spk2utt": enroll_spk2utt,
        "test_spk2utt": test_spk2utt,
    }
    how = Method(
        name=method,
        mode=enroll_mode or "mean",
        mean=mean,
        transform=transform,
        plda=plda,
        length_norm=length_norm is not False,
        plda_length_norm=plda_length_norm or "covariance",
        num_utts=num_utts,
    )
    resolved = {"enroll_mode": how.mode}
    if plda is not None:
        resolved |= {"length_norm": how.length_norm, "plda_length_norm": how.plda_length_norm}
    with provenance_of(output_files(scores), inputs, max_hashed_output=SCORES, **resolved):
        score_trials(
            trials,
            enroll_rspecifier,
            test_rspecifier,
            scores,
            how,
            enroll_spk2utt=enroll_spk2utt,
            test_spk2utt=test_spk2utt,
            policies=Policies(missing, missing_list, duplicates, same_utterance),
            num_threads=num_threads or None,
        )
