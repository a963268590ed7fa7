from __future__ import annotations

from pathlib import Path

import click

from svtk.cli._options import existing_dir


@click.command(
    epilog="\b\nExample:\n  svtk benchmark exp/sv_mixer exp/transformer exp/teacher\n"
    "  svtk benchmark --engine eager --engine optimized --batch-size 1 --batch-size 8 \\\n"
    "    --num-threads 1 --num-threads 2 --plot speed.svg exp/sv_mixer exp/sv_mixer/onnx exp/sv_mixer/int8"
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=["eager", "optimized"],
    show_default=True,
    type=click.Choice(["eager", "optimized", "bfloat16", "compiled"]),
    help="How MODEL_DIRs run: as they are, as extract-embeddings has them (optimized; bfloat16 in mixed precision), or "
    "by torch.compile. What export wrote is run by ONNX Runtime. May be repeated.",
)
@click.option(
    "--batch-size",
    "batches",
    multiple=True,
    default=[1],
    show_default=True,
    type=click.IntRange(min=1),
    help="Utterances embedded at a time. May be repeated.",
)
@click.option(
    "--num-threads",
    "threads",
    multiple=True,
    default=[1],
    show_default=True,
    type=click.IntRange(min=1),
    help="CPU threads. May be repeated.",
)
@click.option("--duration", default=3.0, show_default=True, help="Seconds of audio of an utterance.")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(min=2), help="Timed runs of each variant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--save-beside", is_flag=True, help="Also write each model's results to its benchmark.json, for report.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False), help="Also draw bars: FILE.svg, .png or .pdf.")
@click.argument("model_dirs", metavar="MODEL_DIR...", nargs=-1, required=True, type=existing_dir)
def command(engines, batches, threads, duration, rounds, as_json, save_beside, plot_file, model_dirs):
    """Measure speed and memory of models on the CPU, side by side.

    A MODEL_DIR may be one that export wrote. Every combination of model, engine, batch size and number of threads has a
    process of its own; they run in turns, so that a busy machine slows all of them alike. RTF is the seconds that a
    second of audio takes, "x first" the speed over that of the first row with the same batch size and threads.
    """
    if not 0 < duration < float("inf"):
        raise click.BadParameter(f"found {duration}, expected seconds", param_hint="--duration")
    if plot_file is not None:
        from svtk.deploy.benchmark_plot import FORMATS, require_matplotlib

        if Path(plot_file).suffix not in FORMATS:
            raise click.BadParameter(f"found {plot_file}, expected FILE{', FILE'.join(FORMATS)}", param_hint="--plot")
        require_matplotlib(plot_file)
    import dataclasses
    import json

    from svtk.deploy import benchmark

    distinct = [list(dict.fromkeys(values)) for values in (model_dirs, engines, batches, threads)]
    results = benchmark.benchmark(benchmark.variants(*distinct), duration, rounds)
    if as_json:
        click.echo(json.dumps({"results": [dataclasses.asdict(result) for result in results]}, indent=1))
    else:
        click.echo(benchmark.format_results(results))
    if save_beside:
        benchmark.save_beside(results)
    if plot_file is not None:
        from svtk.deploy.benchmark_plot import plot

        plot(results, plot_file)
