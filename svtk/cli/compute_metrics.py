"""``svtk compute-metrics``."""

from __future__ import annotations

import click


@click.command(epilog="\b\nExample:\n  svtk compute-metrics --p-target 0.01 exp/scores data/trials/vox1_o")
@click.option(
    "--p-target",
    "p_targets",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    default=(0.05, 0.01),
    show_default=True,
    help="Prior of a target trial for minDCF; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("scores")
@click.argument("trials")
def command(p_targets: tuple[float, ...], as_json: bool, scores: str, trials: str) -> None:
    """Print EER and normalised minDCF of scores.

    Equal error rate and minimum detection costs. Reads "enroll test score" lines from SCORES and the labels
    from TRIALS; lines are matched by their keys, in any order. Either may be - (stdin) or "command |".
    """
    import json

    from svtk.score.metrics import score_file_metrics

    metrics = score_file_metrics(scores, trials, p_targets)
    if as_json:
        click.echo(json.dumps(metrics.to_mapping()))
        return
    click.echo(f"EER          {100 * metrics.eer:.2f} % at threshold {metrics.eer_threshold:.4f}")
    for p_target, cost in metrics.min_dcf.items():
        click.echo(f"minDCF {p_target:5} {cost:.4f}")
    click.echo(f"trials       {metrics.num_targets} target, {metrics.num_nontargets} nontarget")
