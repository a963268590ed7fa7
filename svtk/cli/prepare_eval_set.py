"""``svtk prepare-eval-set``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir, existing_file

_NAMES = ("voxsrc22", "voxsrc23", "vcmix", "voices_dev", "voices_eval")


@click.command(
    epilog="\b\nExample:\n  svtk prepare-eval-set --vox1 corpora/voxceleb1 vcmix corpora/vcmix data\n"
    "  svtk prepare-eval-set voices_eval corpora/VOiCES_Box_unzip data"
)
@click.option("--vox1", type=existing_dir, help="VoxCeleb1, which voxsrc22 and vcmix need beside ROOT.")
@click.option("--trials", type=existing_file, help="The trial list.  [default: under its official names below ROOT]")
@click.option(
    "--skip-bad", is_flag=True, help="Leave out missing and unreadable files and their trials, with a warning."
)
@click.option("--num-threads", type=click.IntRange(1), help="Files read at a time.  [default: by the processors]")
@click.argument("name", type=click.Choice(_NAMES))
@click.argument("root", type=existing_dir)
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(
    vox1: str | None,
    trials: str | None,
    skip_bad: bool,
    num_threads: int | None,
    name: str,
    root: str,
    out_dir: str,
) -> None:
    """Make a data directory and trials of an evaluation set.

    NAME: VoxSRC 2022 or 2023 validation (voxsrc22, voxsrc23), VCMix (vcmix), the VOiCES challenge of 2019 (voices_dev,
    voices_eval), as it lies in ROOT. Writes OUT_DIR/NAME and OUT_DIR/trials/NAME. VoxCeleb1's own trial lists are made
    by prepare-voxceleb.
    """
    from svtk.prepare.eval_sets import prepare_eval_set

    prepare_eval_set(name, root, out_dir, vox1=vox1, trials=trials, skip_bad=skip_bad, num_threads=num_threads)
