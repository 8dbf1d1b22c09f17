"""The `lst` command: a group of thin commands, and the one place where errors become words."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from typing import Any, NoReturn

import click

from lst_cli import __version__
from lst_cli.errors import LstError

# Commands are imported when they are called, so that `lst --help` stays quick.
COMMANDS = {
    "init": "lst_cli.cli.init",
    "split": "lst_cli.cli.split",
    "check": "lst_cli.cli.check",
    "train-base": "lst_cli.cli.train_base",
    "step": "lst_cli.cli.step",
    "eval": "lst_cli.cli.evaluate",
    "report": "lst_cli.cli.report",
    "status": "lst_cli.cli.status",
    "demo": "lst_cli.cli.demo",
}


class ShownError(click.ClickException):
    """An `LstError` on its way to the user: a red line, a hint, exit code 1."""

    def __init__(self, error: LstError) -> None:
        super().__init__(error.message)
        self.hint = error.hint

    def show(self, file: Any = None) -> None:
        """Print the error on stderr."""
        del file
        # One line, even if a library put line breaks into its message.
        click.secho(f"error: {' '.join(self.message.split())}", fg="red", err=True)
        if self.hint:
            click.secho(f"  try: {self.hint}", err=True)


class LstGroup(click.Group):
    """Finds commands by name and turns what they raise into words."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name])
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; known problems become one line."""
        try:
            return super().invoke(ctx)
        except LstError as error:
            raise ShownError(error) from error
        except MemoryError as error:
            raise ShownError(
                LstError("not enough memory", "use a smaller batch_size or image size")
            ) from error


@click.group(cls=LstGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lst")
def cli() -> None:
    r"""Learn long-tailed instance segmentation phase by phase.

    Frequent classes first, then rarer and rarer groups without forgetting, to one Mask R-CNN
    over all classes.

    \b
    lst split --train train.json --val val.json --images DIR --b 270 --phases 6
    lst train-base
    lst step --all
    lst eval
    lst report
    """


def main() -> NoReturn:
    """Run `lst`; the entry point of the package."""
    quieten_libraries()
    try:
        code = cli(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.secho("interrupted", fg="red", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        sys.exit(0)


def quieten_libraries() -> None:
    """Keep the remarks of libraries about each other from the user's screen."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in ("torch", "fvcore", "detectron2", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
