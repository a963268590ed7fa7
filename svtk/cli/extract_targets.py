from __future__ import annotations

import click
from click.core import ParameterSource

from svtk.cli._options import config_file, device_option, existing_dir, no_pipes_option, num_threads_option, vad_option
from svtk.cli._provenance import provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk extract-targets --teacher exp/teacher --layers last --compress auto \\\n"
    "    --min-duration 2.0 data/train exp/targets\n"
    "  svtk extract-targets --teacher exp/teacher --distill-config folder_distill_sv_mixer.yaml data/train exp/targets"
)
@click.option("--teacher", required=True, help="Hub name, Hugging Face directory, MODEL_DIR or YAML.")
@click.option(
    "--layers",
    default="last",
    show_default=True,
    help="last, all, none, or numbers such as 0,3,6 (0: projected features).",
)
@click.option(
    "--compress",
    default="none",
    show_default=True,
    type=click.Choice(["none", "auto", "two-byte"]),
    help="Kaldi matrix compression.",
)
@click.option(
    "--min-duration",
    default=3.0,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="Repeat shorter utterances to this (distill's crop_duration).",
)
@click.option(
    "--distill-config",
    "distill_configs",
    multiple=True,
    metavar="FILE|NAME",
    type=config_file,
    help="Configuration of distill, or several: the layers that their KD losses compare with and their crop_duration, "
    "instead of --layers and --min-duration.",
)
@click.option("--print-options", is_flag=True, help="Only print the two, as options of this verb.")
@click.option(
    "--max-gib",
    type=click.FloatRange(min=0.0, min_open=True),
    help="Only as many of the first utterances as fit into this much disk; distill's --teacher beside --targets "
    "computes the others'.",
)
@click.option(
    "--batch-duration",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0.0),
    help="Seconds of audio that the teacher hears at once, utterances of one length or, where it masks padding, of "
    "similar ones; 0: one utterance, which is no slower on a CPU.",
)
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="That the teacher computes in; targets of another differ.",
)
@vad_option
@device_option
@num_threads_option
@no_pipes_option
@click.argument("data_dir", type=existing_dir)
@click.argument("out_dir", type=click.Path(file_okay=False))
@click.pass_context
def command(
    context,
    teacher,
    layers,
    compress,
    min_duration,
    distill_configs,
    print_options,
    max_gib,
    batch_duration,
    precision,
    vad,
    device,
    data_dir,
    out_dir,
):
    """Write a teacher's hidden states as Kaldi tables.

    DATA_DIR's utterances go to OUT_DIR/layerK.{ark,scp}, T × H each; the log says how much disk it takes. Their
    statistics go to OUT_DIR/cmvn_layerK.{ark,scp}, as Kaldi's compute-cmvn-stats has them.
    """
    from svtk.extract.targets import extract_targets

    if distill_configs:
        for name in ("layers", "min_duration"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} is what --distill-config says; give one of them")
        layers, min_duration = _wanted(distill_configs, teacher)
    if print_options:
        click.echo(f"--layers {layers} --min-duration {min_duration}")
        return
    with provenance_of(
        [out_dir], {"teacher": teacher, "data": data_dir, "vad": f"scp:{data_dir}/vad.scp" if vad else None}
    ):
        extract_targets(
            teacher,
            data_dir,
            out_dir,
            layers=layers,
            compress=compress,
            min_duration=min_duration,
            vad=vad,
            max_gib=max_gib,
            batch_duration=batch_duration,
            precision=precision,
            device=device,
        )


def _wanted(distill_configs, teacher):
    from svtk.config import load_config
    from svtk.models.teacher import load_teacher
    from svtk.train.distill import wanted_targets

    configs = [(load_config(path), path) for path in distill_configs]
    layers, min_duration = wanted_targets(configs, load_teacher(teacher))
    return ",".join(map(str, layers)) or "none", min_duration
