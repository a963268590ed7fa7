"""``svtk validate-data``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, no_pipes_option


@click.command(
    epilog="\b\nExample:\n  svtk validate-data data/train\n"
    "  svtk validate-data --check-audio --num-workers 8 --trials data/trials/vox1_o data/vox1"
)
@click.option(
    "--trials", multiple=True, metavar="FILE", help="Check this trial list against the utterances; may be repeated."
)
@click.option("--check-audio", is_flag=True, help="Decode every recording; pipes are run.")
@click.option("--num-workers", type=click.IntRange(min=1), help="Processes that decode.  [default: one per CPU]")
@click.option(
    "--spk-sort/--no-spk-sort",
    default=True,
    show_default=True,
    help="Insist, as Kaldi does, on an utt2spk that is sorted by speaker, too. svtk does not need it.",
)
@click.option("--wav/--no-wav", default=True, show_default=True, help="Insist on wav.scp.")
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
def command(
    trials: tuple[str, ...],
    check_audio: bool,
    num_workers: int | None,
    spk_sort: bool,
    wav: bool,
    data_dir: str,
) -> None:
    """Check a data directory, its manifest, its trials and its audio.

    Does what Kaldi's validate_data_dir.sh does, of the files that are there (text and feats.scp need not be).
    All that is wrong is reported, with the first lines of each kind and how to mend it; the status is then 1.
    """
    from svtk.errors import DataError
    from svtk.prepare.validate import validate_data

    found = validate_data(
        data_dir, trials=trials, check_audio=check_audio, num_workers=num_workers, spk_sort=spk_sort, wav=wav
    )
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    for problem in found.problems:
        click.echo(problem.block(), err=True)
    if found.problems:
        what = f"not valid: {found.problems.count} problem(s) of {len(found.problems)} kind(s), told above"
        fixable = sum(problem.is_fixable for problem in found.problems)
        mend = f"svtk fix-data {data_dir} mends {fixable} of the kinds" if fixable else "see each kind"
        raise DataError(what, path=data_dir, mend=mend)
    click.echo(found.summary())
