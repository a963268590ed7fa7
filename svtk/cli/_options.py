"""Options that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

existing_file = click.Path(exists=True, dir_okay=False)
existing_dir = click.Path(exists=True, file_okay=False)


class ConfigPath(click.Path):
    """A path; a name that is none here is that of a configuration which svtk comes with."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from svtk.config import find_config
        from svtk.errors import ConfigError

        try:
            return super().convert(str(find_config(value)), param, ctx)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


config_file = ConfigPath(exists=True, dir_okay=False)


def overrides_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--set KEY=VALUE``."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one configuration value, e.g. student.num_layers=6.",
    )(function)


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--config FILE`` and ``--set KEY=VALUE``, the latter above the former."""
    config = click.option(
        "--config",
        metavar="FILE|NAME",
        type=config_file,
        help="YAML configuration, or the name of one of svtk's own (defaults apply below it). Speed, too, is set there "
        "or by --set: precision=bf16, num_workers=4, compile=true ...",
    )
    return config(overrides_option(function))


def seed_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--seed``."""
    return click.option(
        "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of every random choice."
    )(function)


def device_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--device``."""
    return click.option(
        "--device", default="cpu", show_default=True, callback=_known_device, help="torch device: cpu, cuda, cuda:1 ..."
    )(function)


def _known_device(_context: click.Context, _parameter: click.Parameter, device: str) -> str:
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise click.BadParameter(f"found {device!r}, expected cpu, cuda or cuda:NUMBER")
    if device != "cpu":
        import torch

        if int(match[1] or 0) >= torch.cuda.device_count():
            raise click.BadParameter(f"no {device!r} here, where torch sees {torch.cuda.device_count()} CUDA device(s)")
    return device


def num_threads_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--num-threads``, which reaches torch before the verb begins."""
    return click.option(
        "--num-threads",
        type=click.IntRange(min=0),
        callback=_use_threads,
        expose_value=False,
        help="CPU threads; 0 or absent: the environment's (OMP_NUM_THREADS), else one per core.",
    )(function)


def _use_threads(_context: click.Context, _parameter: click.Parameter, num_threads: int | None) -> None:
    if num_threads:
        import torch

        torch.set_num_threads(num_threads)


def no_pipes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--no-pipes``, which needs no argument of *function*: it holds for the whole process and its children."""
    return click.option(
        "--no-pipes",
        is_flag=True,
        expose_value=False,
        callback=_refuse_pipes,
        help="Run no command to read data: for wav.scp, scp files and manifests of strangers, which may name some.",
    )(function)


def _refuse_pipes(_context: click.Context, _parameter: click.Parameter, no_pipes: bool) -> None:
    if no_pipes:
        from svtk.kaldi.streams import refuse_pipes

        refuse_pipes()


def vad_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--vad``."""
    return click.option(
        "--vad", is_flag=True, help="Speech only, by the vad.scp in each data directory (detect-speech, compute-vad)."
    )(function)


def validation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--valid``, ``--valid-trials``, ``--noise`` and ``--vad`` of the training verbs, for a ``Run``."""
    noise = click.option("--noise", type=existing_dir, help="Output of prepare-noise, for augmentation.")
    trials = click.option("--valid-trials", required=True, type=existing_file, help="Labelled trials over it.")
    valid = click.option("--valid", "valid_dir", required=True, type=existing_dir, help="Validation data directory.")
    return valid(trials(noise(vad_option(function))))


def checkpoint_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--checkpoint-interval``, ``--checkpoint-steps``, ``--keep-checkpoints`` and ``--no-tensorboard``."""
    interval = click.option(
        "--checkpoint-interval",
        default=15.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="Minutes between checkpoints within an epoch, beside that of its end; 0: none.",
    )
    steps = click.option(
        "--checkpoint-steps",
        default=0,
        show_default=True,
        type=click.IntRange(min=0),
        help="Steps between checkpoints within an epoch; 0: none but by time.",
    )
    keep = click.option(
        "--keep-checkpoints",
        default=2,
        show_default=True,
        type=click.IntRange(min=1),
        help="Ends of epochs kept while training, beside that of the best.",
    )
    tensorboard = click.option(
        "--tensorboard/--no-tensorboard", default=True, show_default=True, help="Log for TensorBoard, too."
    )
    return interval(steps(keep(tensorboard(function))))


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--seed``, ``--device``, checkpoints, ``--num-threads``, ``--no-pipes`` and MODEL_DIR of the training verbs."""
    model_dir = click.argument("model_dir", type=click.Path(file_okay=False))
    options = checkpoint_options(num_threads_option(no_pipes_option(model_dir(function))))
    return seed_option(device_option(options))


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """DATA_DIR, the validation and the run options: all that a :class:`svtk.train.run.Run` is made of."""
    train_dir = click.argument("train_dir", metavar="DATA_DIR", type=existing_dir)
    return validation_options(train_dir(run_options(function)))
