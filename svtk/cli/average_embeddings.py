"""``svtk average-embeddings``."""

from __future__ import annotations

import click

from svtk.cli._options import no_pipes_option
from svtk.cli._provenance import output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk average-embeddings data/train/spk2utt scp:exp/embeddings.scp \\\n"
    "    ark:exp/spk_embeddings.ark ark,t:exp/num_utts.ark"
)
@click.option("--length-normalize", is_flag=True, help="Scale each embedding to length 1 first.")
@no_pipes_option
@click.argument("spk2utt")
@click.argument("rspecifier")
@click.argument("wspecifier")
@click.argument("num_utts_wspecifier", required=False)
def command(
    length_normalize: bool, spk2utt: str, rspecifier: str, wspecifier: str, num_utts_wspecifier: str | None
) -> None:
    """Average the embeddings of each speaker.

    Kaldi's ivector-mean: one plain mean per line "spk utt utt ..." of SPK2UTT (- is stdin), in that order.
    Utterances without an embedding are left out with a warning. NUM_UTTS_WSPECIFIER gets the number of
    utterances behind each mean, as PLDA needs it.
    """
    from svtk.score.average import average_embeddings

    tables = [wspecifier] if num_utts_wspecifier is None else [wspecifier, num_utts_wspecifier]
    written = [file for table in tables for file in output_files(table, table=True)]
    with provenance_of(written, {"spk2utt": spk2utt, "embeddings": rspecifier}):
        average_embeddings(spk2utt, rspecifier, wspecifier, num_utts_wspecifier, length_normalize=length_normalize)
