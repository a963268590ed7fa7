from __future__ import annotations

import click

from svtk.cli._options import existing_dir, no_pipes_option, seed_option
from svtk.cli._provenance import audio_source, provenance_of


@click.command(epilog="\b\nExample:\n  svtk make-shards data/train data/train_shards")
@click.option(
    "--utterances-per-shard",
    "per_shard",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="Utterances in a shard: 100 to 300 MB of VoxCeleb.",
)
@seed_option
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("shard_dir", type=click.Path(file_okay=False))
def command(data_dir, shard_dir, per_shard, seed):
    """Copy the audio of DATA_DIR into tar files that training reads from front to back, for slow disks.

    SHARD_DIR is a data directory of the same utterances, which may stand wherever DATA_DIR may. In the shards the
    utterances are in random order, by --seed. A rerun keeps the shards that are whole.
    """
    from svtk.prepare.shards import make_shards

    with provenance_of([shard_dir], {"data": audio_source(data_dir)}):
        make_shards(data_dir, shard_dir, per_shard=per_shard, seed=seed)
