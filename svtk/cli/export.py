from __future__ import annotations

import click

from svtk.cli._options import existing_dir, existing_file, no_pipes_option, num_threads_option, seed_option
from svtk.cli._provenance import audio_source, provenance_of


@click.command(
    epilog="\b\nExample:\n  svtk export exp/sv_mixer exp/sv_mixer/onnx\n"
    "  svtk extract-embeddings exp/sv_mixer/onnx data/test ark,scp:e.ark,e.scp\n"
    "  svtk export --int8 static --calibration-data data/train \\\n"
    "    --eval data/test --trials data/trials/test exp/sv_mixer exp/sv_mixer/int8"
)
@click.option(
    "--int8",
    "quantization",
    type=click.Choice(["dynamic", "static"]),
    help="Products of 8-bit integers. dynamic: of linear layers; static: of convolutions too, with scales found on "
    "calibration data.",
)
@click.option(
    "--calibration-data", metavar="DATA_DIR", type=existing_dir, help="For --int8 static: data as that of training."
)
@click.option(
    "--eval", "eval_dir", metavar="DATA_DIR", type=existing_dir, help="Also print the EER of model and export on this."
)
@click.option("--trials", type=existing_file, help="Labelled trials over --eval.")
@seed_option
@num_threads_option
@no_pipes_option
@click.argument("model_dir", type=existing_dir)
@click.argument("out_dir", type=click.Path(file_okay=False))
def command(quantization, calibration_data, eval_dir, trials, seed, model_dir, out_dir):
    """Export a model to ONNX, for the CPU.

    MODEL_DIR may, for --int8, also be its float32 export, which saves the time to make the graphs again.

    OUT_DIR stands where a MODEL_DIR does, in extract-embeddings and benchmark. It holds two graphs: encoder.onnx takes
    windows (batch, samples), backend.onnx their hidden states (batch, frames, H) of any number of frames. Embeddings
    are compared with the model's own first, and OUT_DIR does not appear when they differ by more than 1e-4 of their
    length (float32) or by a mean cosine below 0.9 (int8).
    """
    if (eval_dir is None) != (trials is None):
        raise click.UsageError("--eval and --trials go together")
    if (quantization == "static") != (calibration_data is not None):
        raise click.UsageError("--int8 static and --calibration-data go together")
    from svtk.models.exported import require_onnx

    require_onnx()
    from svtk.deploy.export import export

    calibration = None if calibration_data is None else audio_source(calibration_data)
    with provenance_of([out_dir], {"model": model_dir, "calibration_data": calibration}):
        export(model_dir, out_dir, quantization=quantization, calibration_data=calibration_data, seed=seed)
    if eval_dir is not None:
        from svtk.deploy.evaluate import eer
        from svtk.models.exported import open_embedder

        rates = [100 * eer(open_embedder(directory), eval_dir, trials) for directory in (model_dir, out_dir)]
        click.echo(f"EER {rates[0]:.3f} % of {model_dir}, {rates[1]:.3f} % of {out_dir} ({rates[1] - rates[0]:+.3f})")
