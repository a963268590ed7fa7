"""``svtk compute-metrics``."""

from __future__ import annotations

from typing import Any

import click


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


@click.command(epilog="\b\nExample:\n  svtk compute-metrics --p-target 0.01 exp/scores data/trials/vox1_o")
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
    "--missing",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="Scores without a trial and trials without a score: an error, or counted and left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("scores")
@click.argument("trials", required=False)
def command(costs: tuple[tuple[float, ...], ...], missing: str, as_json: bool, scores: str, trials: str | None) -> None:
    """Print EER, minDCF, actDCF, Cllr and minCllr of scores."""
    import json

    from svtk.score.labels import read_labelled
    from svtk.score.metrics import compute_metrics
    from svtk.score.operating_points import Cost

    parsed = [Cost(*numbers) for numbers in costs]
    read = read_labelled(scores, trials, missing=missing)
    metrics = compute_metrics(read.scores, read.labels, parsed)
    if as_json:
        click.echo(json.dumps(metrics.to_mapping()))
        return
    click.echo(f"EER          {100 * metrics.eer:.2f} % at threshold {metrics.eer_threshold:.4f}")
    for p_target, cost in metrics.min_dcf.items():
        click.echo(f"minDCF {p_target:5} {cost:.4f}")
    click.echo(f"trials       {metrics.num_targets} target, {metrics.num_nontargets} nontarget")
