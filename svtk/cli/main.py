"""The ``svtk`` command: finds verbs by file name and imports none before it is asked for."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys

import click

from svtk import __version__, cli
from svtk.errors import SvtkError


class Verbs(click.Group):
    """A group whose commands are the modules of ``svtk.cli``; each holds one click command named ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = (info.name for info in pkgutil.iter_modules(cli.__path__))
        return sorted(name.replace("_", "-") for name in modules if name != "main" and not name.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"svtk.cli.{name.replace('-', '_')}").command

    def resolve_command(self, ctx: click.Context, args: list[str]):
        from svtk.config import nearest

        if args and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"no verb {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="svtk")
def svtk() -> None:
    """Small, fast speaker verification, distilled from large speech models.

    Data goes to stdout or the named output, logs to stderr. Every verb has --help with an example.
    """


def main() -> None:
    """Entry point: one ``Error:`` line and exit code 1 for an :class:`SvtkError`; 2 for wrong usage."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for handler in logging.getLogger().handlers:  # SpeechBrain's notes on every start are not ours; its warnings are
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or not record.name.startswith("speechbrain"))
    try:
        code = svtk.main(prog_name="svtk", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is understood
        sys.exit(code if isinstance(code, int) else 0)
    except SvtkError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("Error: interrupted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our stdout has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
