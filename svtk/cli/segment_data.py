from __future__ import annotations

import click

from svtk.cli._options import existing_dir, no_pipes_option
from svtk.cli._provenance import audio_source, provenance_of


@click.command(epilog="\b\nExample:\n  svtk segment-data data/train scp:data/train/vad.scp data/train_segmented")
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("rspecifier", metavar="VAD_RSPECIFIER")
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(data_dir, rspecifier, out_dir):
    """Write a data directory whose utterances are the runs of speech.

    VAD_RSPECIFIER holds a vector of 1 (speech) and 0 for every 10 ms of each utterance of DATA_DIR, as detect-speech
    or compute-vad writes it. OUT_DIR gets segments, utt2spk, spk2utt, wav.scp and Lhotse's cuts.jsonl.gz.
    """
    from svtk.extract.speech import write_speech_segments

    with provenance_of([out_dir], {"data": audio_source(data_dir), "vad": rspecifier}):
        write_speech_segments(data_dir, rspecifier, out_dir)
