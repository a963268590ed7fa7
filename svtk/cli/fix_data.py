"""``svtk fix-data``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir


@click.command(epilog="\b\nExample:\n  svtk fix-data data/train\n  svtk validate-data data/train")
@click.option(
    "--spk-sort/--no-spk-sort",
    default=True,
    show_default=True,
    help="Refuse, as Kaldi does, an utt2spk that sorted by utterance is not sorted by speaker.",
)
@click.option("--wav/--no-wav", default=True, show_default=True, help="Insist on wav.scp.")
@click.argument("data_dir", type=existing_dir)
def command(spk_sort: bool, wav: bool, data_dir: str) -> None:
    """Make a data directory valid, or tell why it cannot be.

    Does what Kaldi's fix_data_dir.sh does: sorts all files, drops repeated lines and the utterances,
    speakers and recordings that are not in all files, and makes spk2utt. The old files are kept in
    DATA_DIR/.backup. What only you can mend (malformed lines, an id with two values) is listed; nothing is
    changed then.
    """
    from svtk.prepare.fix import Unfixable, fix_data

    try:
        fixed = fix_data(data_dir, spk_sort=spk_sort, wav=wav)
    except Unfixable as error:
        for problem in error.problems:
            click.echo(problem.block(), err=True)
        raise
    click.echo(fixed.summary())
