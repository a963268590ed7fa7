"""``svtk compute-metrics``."""

from __future__ import annotations

from typing import Any

import click

from svtk.cli._options import seed_option
from svtk.cli._provenance import provenance_within


class _Edges(click.ParamType):
    """``EDGE,EDGE...``, rising numbers."""

    name = "EDGE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Numbers, one or more; a default is none of them."""
        if isinstance(value, tuple):
            return value
        try:
            edges = tuple(map(float, value.split(",")))
        except ValueError:
            edges = ()
        if not edges or not all(low < high for low, high in zip(edges, (*edges[1:], float("inf")), strict=True)):
            self.fail(f"found {value!r}, expected rising numbers, as 2,5,10", param, ctx)
        return edges


class _Cost(click.ParamType):
    """``P_TARGET`` or ``P_TARGET,C_MISS,C_FA``."""

    name = "P[,C_MISS,C_FA]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Numbers: one or three."""
        try:
            numbers = tuple(map(float, value.split(",")))
        except ValueError:
            numbers = ()
        if len(numbers) not in (1, 3) or not 0 < numbers[0] < 1 or not all(0 < n < float("inf") for n in numbers[1:]):
            expected = "a probability between 0 and 1, or it and two costs above 0"
            self.fail(f"found {value!r}, expected {expected}", param, ctx)
        return numbers


@click.command(
    epilog="\b\nExample:\n  svtk compute-metrics --utt2spk data/vox1/utt2spk --by data/vox1/spk2gender \\\n"
    "    exp/scores data/trials/vox1_o"
)
@click.option(
    "--p-target",
    "costs",
    type=_Cost(),
    multiple=True,
    default=("0.05", "0.01", "0.001"),
    show_default=True,
    help="Prior of a target trial, and costs of errors (1,1), for minDCF and actDCF; may be given several times.",
)
@click.option(
    "--utt2spk",
    metavar="FILE",
    help="Speakers of the keys: with confidence intervals, by bootstrap of speakers.",
)
@click.option(
    "--confidence",
    "level",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Level of the intervals.",
)
@click.option(
    "--num-bootstrap",
    default=1000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Draws of all speakers, each a walk over all trials: 1,000 draws of 10 million trials take minutes.",
)
@seed_option
@click.option(
    "--by",
    multiple=True,
    metavar="FILE",
    help="Also by group; FILE has lines KEY VALUE (of utterances, models, or speakers with --utt2spk) or "
    "ENROLL TEST VALUE; may be given several times.",
)
@click.option(
    "--bins",
    type=_Edges(),
    default=(),
    help="Edges of bins for --by files whose values are numbers; of a trial's sides the lower one counts.",
)
@click.option("--compare", metavar="SCORES", help="Also another system's scores of these trials, and the difference.")
@click.option(
    "--missing",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Scores without a trial and trials without a score: an error, or counted and left out.",
)
@click.option(
    "--provenance", is_flag=True, help="Also print how the scores were made, back to the data, as svtk trace does."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; it holds what svtk trace follows.")
@click.argument("scores")
@click.argument("trials", required=False)
def command(
    costs: tuple[tuple[float, ...], ...],
    utt2spk: str | None,
    level: float,
    num_bootstrap: int,
    seed: int,
    by: tuple[str, ...],
    bins: tuple[float, ...],
    compare: str | None,
    missing: str,
    provenance: bool,
    as_json: bool,
    scores: str,
    trials: str | None,
) -> None:
    """Print EER, minDCF, Cllr and more of scores, with confidence intervals.

    Labels come from TRIALS, matched by keys in any order, or, without TRIALS, from SCORES itself: lines "enroll test
    score target|nontarget" or "score target|nontarget". All files may be - (stdin) or "command |".

    EER is the plain one, interpolated between operating points; that of the convex hull is printed beside it.
    Costs are normalised by that of the better of accepting all and rejecting all. actDCF and Cllr take the scores as
    natural log-likelihood ratios (see svtk calibrate); the others need no calibration.

    Trials that share a speaker are not independent: intervals come from drawing speakers, each with all its trials,
    and the same draws serve both systems of --compare.
    """
    import json

    from svtk.score.evaluate import Confidence, Request, evaluate
    from svtk.score.metrics_text import metrics_text
    from svtk.score.operating_points import Cost
    from svtk.trace import format_trace, trace_record

    if bins and not by:
        raise click.UsageError("--bins goes with --by")
    request = Request(
        costs=[Cost(*numbers) for numbers in costs],
        missing=missing,
        utt2spk=utt2spk,
        confidence=Confidence(level, num_bootstrap, seed),
        by=by,
        bins=bins,
        compare=compare,
    )
    if not (as_json or provenance):
        click.echo(metrics_text(evaluate(scores, trials, request)))
        return
    inputs = {"scores": scores, "trials": trials, "compare": compare, "utt2spk": utt2spk, "by": by}
    with provenance_within(inputs) as record:
        result = evaluate(scores, trials, request)
        result["provenance"] = record()
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
    else:
        click.echo(f"{metrics_text(result)}\n\n{format_trace(trace_record('these metrics', result['provenance']))}")
