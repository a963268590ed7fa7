"""``svtk prepare-noise``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir


@click.command(
    epilog="\b\nExample:\n  svtk prepare-noise --musan corpora/musan --rirs corpora/RIRS_NOISES data/augment"
)
@click.option("--musan", type=existing_dir, help="MUSAN, or a plain folder of noises.")
@click.option("--rirs", type=existing_dir, help="RIRS_NOISES, or a plain folder of impulse responses.")
@click.option(
    "--convert/--no-convert",
    default=True,
    show_default=True,
    help="Convert audio that is not 16 kHz mono into OUT_DIR/KIND/wav, or refuse it.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out unreadable and empty files, with a warning each.")
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(musan: str | None, rirs: str | None, convert: bool, skip_bad: bool, out_dir: str) -> None:
    """Make data directories of noises and room impulse responses.

    Writes OUT_DIR/{noise,music,speech} for MUSAN (OUT_DIR/noise for a plain folder) and OUT_DIR/rirs.
    """
    if musan is None and rirs is None:
        raise click.UsageError("give --musan, --rirs or both")
    from svtk.prepare.noise import prepare_noise

    prepare_noise(out_dir, musan=musan, rirs=rirs, convert=convert, skip_bad=skip_bad)
