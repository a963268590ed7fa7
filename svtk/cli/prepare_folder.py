"""``svtk prepare-folder``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, existing_file, seed_option


@click.command(
    epilog="\b\nExample:\n  svtk prepare-folder --speakers corpus/speakers.tsv --num-valid-spks 10 \\\n"
    "    --valid-dir data/valid corpus/train data/train"
)
@click.option(
    "--num-valid-spks", default=0, help="Hold out this many speakers, balanced over sex when known, for --valid-dir."
)
@click.option("--valid-dir", type=click.Path(file_okay=False), help="Data directory of the held-out speakers.")
@seed_option
@click.option(
    "--convert/--no-convert",
    default=True,
    show_default=True,
    help="Convert audio that is not 16 kHz mono into DATA_DIR/wav, or refuse it.",
)
@click.option(
    "--channel", type=click.IntRange(0), help="Take this channel, counted from 0.  [default: the mean of all]"
)
@click.option(
    "--speakers", type=existing_file, help="Tab-separated table with the columns spk and sex, for spk2gender."
)
@click.option("--skip-bad", is_flag=True, help="Leave out unreadable and empty files, with a warning each.")
@click.argument("root", type=existing_dir)
@click.argument("data_dir", type=click.Path(file_okay=False))
def command(
    num_valid_spks: int,
    valid_dir: str | None,
    seed: int,
    convert: bool,
    channel: int | None,
    speakers: str | None,
    skip_bad: bool,
    root: str,
    data_dir: str,
) -> None:
    """Make a data directory from any tree ROOT/SPK/.../UTT.wav.

    Audio may be wav, flac, ogg, opus, mp3 or, through ffmpeg, m4a and the like. Writes Kaldi's files and
    cuts.jsonl.gz to DATA_DIR.
    """
    if bool(num_valid_spks) != (valid_dir is not None):
        raise click.UsageError("--num-valid-spks and --valid-dir go together")
    from svtk.prepare.folder import prepare_folder

    prepare_folder(
        root,
        data_dir,
        num_valid_spks=num_valid_spks,
        valid_dir=valid_dir,
        seed=seed,
        convert=convert,
        channel=channel,
        speakers=speakers,
        skip_bad=skip_bad,
    )
