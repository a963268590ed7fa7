"""``svtk prepare-voxceleb``."""

from __future__ import annotations

import click

from svtk.cli._options import existing_dir

_LISTS = ("o", "e", "h", "o_original", "e_original", "h_original")


def _lists(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    lists = [] if value == "none" else value.split(",")
    if not set(lists) <= set(_LISTS):
        raise click.BadParameter(f"{value!r} is not 'none' or some of {','.join(_LISTS)}")
    return lists


@click.command(
    epilog="\b\nExample:\n  svtk prepare-voxceleb --vox1 corpora/voxceleb1 --vox2 corpora/voxceleb2 \\\n"
    "    --trials-dir corpora/voxceleb1/meta data"
)
@click.option("--vox1", type=existing_dir, help="VoxCeleb1, dev and test, as distributed.")
@click.option("--vox2", type=existing_dir, help="VoxCeleb2 as distributed, m4a or wav.")
@click.option(
    "--trials-dir",
    type=existing_dir,
    help="Where veri_test2.txt, list_test_all2.txt and list_test_hard2.txt are.  [default: in --vox1]",
)
@click.option(
    "--lists",
    default="o,e,h",
    show_default=True,
    callback=_lists,
    help="Which trial lists to make: some of o, e, h (cleaned), o_original, e_original, h_original; or none.",
)
@click.option(
    "--check-counts/--no-check-counts", default=True, help="Insist on the numbers of trials of the official lists."
)
@click.option("--skip-bad", is_flag=True, help="Leave out unreadable and empty files, with a warning each.")
@click.option("--num-threads", type=click.IntRange(1), help="Files read at a time.  [default: by the processors]")
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(
    vox1: str | None,
    vox2: str | None,
    trials_dir: str | None,
    lists: list[str],
    check_counts: bool,
    skip_bad: bool,
    num_threads: int | None,
    out_dir: str,
) -> None:
    """Make data directories and official trials of VoxCeleb.

    Writes OUT_DIR/vox1 (dev and test), OUT_DIR/vox2_dev and OUT_DIR/trials/vox1_LIST.
    """
    if vox1 is None and vox2 is None:
        raise click.UsageError("give --vox1, --vox2 or both")
    from svtk.prepare.voxceleb import prepare_voxceleb

    prepare_voxceleb(
        out_dir,
        vox1=vox1,
        vox2=vox2,
        trials_dir=trials_dir,
        lists=lists,
        check_counts=check_counts,
        skip_bad=skip_bad,
        num_threads=num_threads,
    )
