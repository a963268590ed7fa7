from __future__ import annotations

import click

from svtk.cli._options import existing_file, no_pipes_option, num_threads_option
from svtk.cli._provenance import audio_source, output_files, provenance_of, source_of

_VAD = ("vad_energy_threshold", "vad_energy_mean_scale", "vad_proportion_threshold", "vad_frames_context")


def _take_config(context: click.Context, _parameter: click.Parameter, paths: tuple[str, ...]) -> None:
    """Kaldi's configuration files lie below the command line."""
    if paths:
        from svtk.data.vad_config import read_vad_config

        context.default_map = {key: value for path in paths for key, value in read_vad_config(path).items()}


@click.command(
    epilog="\b\nExample:\n  svtk detect-speech data/train ark,scp:exp/vad.ark,data/train/vad.scp\n"
    "  svtk detect-speech --config conf/vad.conf scp:data/train/feats.scp ark,t:-"
)
@click.option(
    "--config",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_take_config,
    type=existing_file,
    help="Kaldi's configuration, --key=value lines, as conf/vad.conf or conf/mfcc.conf; may be given more than once.",
)
@click.option(
    "--detector",
    type=click.Choice(["energy", "kaldi", "silero"]),
    help="energy: two Gaussians fitted to the utterance; silero: Silero-VAD; both with minimum durations. kaldi: "
    "compute-vad's decision, and the default where a --vad-... option is given.  [default: energy]",
)
@click.option(
    "--min-speech", default=0.1, show_default=True, type=click.FloatRange(min=0.01), help="Seconds of a run of speech."
)
@click.option(
    "--min-silence", default=0.3, show_default=True, type=click.FloatRange(min=0.01), help="Seconds of a pause."
)
@click.option(
    "--to-speech-cost", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Of a pause's end, in nats."
)
@click.option(
    "--to-silence-cost", default=20.0, show_default=True, type=click.FloatRange(min=0), help="Of its beginning."
)
@click.option(
    "--engine", type=click.Choice(["k2", "torch"]), help="What decodes; both do the same.  [default: k2, if any]"
)
@click.option("--vad-energy-threshold", type=float, help="As compute-vad's.  [default: 5.0]")
@click.option("--vad-energy-mean-scale", type=float, help="As compute-vad's.  [default: 0.5]")
@click.option("--vad-proportion-threshold", type=float, help="As compute-vad's.  [default: 0.6]")
@click.option("--vad-frames-context", type=int, help="As compute-vad's.  [default: 0]")
@click.option("--frame-length", default=25.0, show_default=True, type=float, help="Of energies: milliseconds.")
@click.option(
    "--snip-edges", default=False, show_default=True, type=bool, help="As compute-mfcc-feats', whose default is true."
)
@click.option("--raw-energy", default=True, show_default=True, type=bool, help="As compute-mfcc-feats'.")
@click.option("--energy-floor", default=0.0, show_default=True, type=float, help="As compute-mfcc-feats'.")
@click.option("--segments", metavar="DIR", help="Also write a data directory of the runs of speech; needs DATA_DIR.")
@num_threads_option
@no_pipes_option
@click.argument("source", metavar="DATA_DIR|FEATS_RSPECIFIER")
@click.argument("wspecifier")
def command(
    detector, min_speech, min_silence, to_speech_cost, to_silence_cost, engine, segments, source, wspecifier, **kaldi
):
    """Detect speech: a vector of 1 (speech) and 0 for every 10 ms of each utterance.

    The input is a data directory, or Kaldi features whose first column is log-energy. Written as DATA_DIR/vad.scp, it
    is what --vad of other verbs takes, and Kaldi's select-voiced-frames.
    """
    from svtk.config import from_mapping
    from svtk.data.speech_activity import EnergyOptions, VadOptions
    from svtk.data.speech_activity_path import Topology
    from svtk.extract.speech import Detector, detect_speech, write_speech_segments
    from svtk.kaldi.specifiers import is_rspecifier, parse_wspecifier

    vad = {key.removeprefix("vad_"): kaldi.pop(key) for key in _VAD}
    vad = {key: value for key, value in vad.items() if value is not None}
    if detector is None:
        detector = "kaldi" if vad else "energy"
    if vad and detector != "kaldi":
        raise click.UsageError(f"--vad-{next(iter(vad)).replace('_', '-')} goes with --detector kaldi")
    if segments and is_rspecifier(source):
        raise click.UsageError("--segments needs a data directory")
    if segments and (parse_wspecifier(wspecifier).scp or "-") == "-":
        raise click.UsageError("--segments needs a script file: ark,scp:FILE.ark,FILE.scp")
    topology = {
        "min_speech": max(1, round(100 * min_speech)),
        "min_silence": max(1, round(100 * min_silence)),
        "to_speech": to_speech_cost,
        "to_silence": to_silence_cost,
    }
    how = Detector(
        detector, from_mapping(EnergyOptions, kaldi), from_mapping(VadOptions, vad), from_mapping(Topology, topology)
    )
    outputs = output_files(wspecifier, table=True) + ([segments] if segments else [])
    inputs = {"source": source_of(source) if is_rspecifier(source) else audio_source(source)}
    with provenance_of(outputs, inputs, detector=detector):
        detect_speech(source, wspecifier, how, engine=engine)
        if segments:
            write_speech_segments(source, f"scp:{parse_wspecifier(wspecifier).scp}", segments)
