"""``svtk make-demo-corpus``."""

from __future__ import annotations

import click

from svtk.cli._options import seed_option


@click.command(epilog="\b\nExample:\n  svtk make-demo-corpus --num-spks 168 --seed 0 corpora/demo")
@click.option("--num-spks", default=168, show_default=True, help="Speakers in all.")
@click.option("--num-test-spks", default=24, show_default=True, help="How many of them are for testing only.")
@click.option("--utts-per-spk", default=8, show_default=True, help="Utterances of each speaker.")
@seed_option
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(num_spks: int, num_test_spks: int, utts_per_spk: int, seed: int, out_dir: str) -> None:
    """Make a small corpus of synthetic speakers from nothing.

    Writes OUT_DIR/{train,test}/SPK/UTT.flac, OUT_DIR/speakers.tsv, OUT_DIR/noise and OUT_DIR/rirs. The
    speech is synthetic (eSpeak NG): good for a demonstration and for tests, not for results.
    """
    from svtk.prepare.demo_corpus import make_demo_corpus

    make_demo_corpus(out_dir, num_spks=num_spks, num_test_spks=num_test_spks, utts_per_spk=utts_per_spk, seed=seed)
