from __future__ import annotations

import click

from svtk.cli._options import device_option, existing_dir, no_pipes_option, num_threads_option, vad_option
from svtk.cli._provenance import audio_source, output_files, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk extract-embeddings exp/sv_mixer data/test \\\n"
    "    ark,scp:exp/embeddings.ark,exp/embeddings.scp\n"
    "  svtk extract-embeddings exp/sv_mixer 'ark:wav-copy scp:wav.scp ark:- |' ark,t:-"
)
@click.option(
    "--windows",
    default="cover",
    show_default=True,
    type=click.Choice(["cover", "crops"]),
    help="cover: windows over the whole utterance, pooled together; crops: evenly spaced ones, averaged.",
)
@click.option(
    "--num-crops",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="Crops per utterance with --windows crops.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Windows encoded at a time; absent: as suits the model and the device.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="bfloat16: quicker where the processor has it, for slightly other embeddings.",
)
@vad_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("model_dir", type=existing_dir)
@click.argument("source", metavar="DATA_DIR|WAV_RSPECIFIER")
@click.argument("wspecifier")
def command(windows, num_crops, batch_size, precision, vad, device, model_dir, source, wspecifier):
    """Extract one embedding per utterance.

    MODEL_DIR is a student or a teacher, or what export made of one. The input is a data directory; scp:wav.scp,
    whose entries are files, wav.ark:OFFSET or pipes; or ark:wav.ark, what wav-copy writes.
    """
    from svtk.extract.embeddings import extract_embeddings
    from svtk.kaldi.specifiers import is_rspecifier

    if vad and is_rspecifier(source):
        raise click.UsageError("--vad needs a data directory, whose vad.scp it reads")
    inputs = {"model": model_dir, "data": audio_source(source), "vad": f"scp:{source}/vad.scp" if vad else None}
    with provenance_of(output_files(wspecifier, table=True), inputs):
        extract_embeddings(
            model_dir,
            source,
            wspecifier,
            windows=windows,
            num_crops=num_crops,
            batch_size=batch_size,
            precision=precision,
            vad=vad,
            device=device,
        )
