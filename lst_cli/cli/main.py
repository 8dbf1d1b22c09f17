"""The `lst` command: a group of commands; errors and signals become messages here."""

from __future__ import annotations

import importlib
import logging
import os
import resource
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

import click

from lst_cli import __version__, ranks
from lst_cli.cli.options import examples
from lst_cli.cli.problems import known_problem
from lst_cli.cli.processes import is_first_to_fail, with_other_processes
from lst_cli.errors import LostProcessError, LstError, LstWarning
from lst_cli.text import did_you_mean

# Room and summary of each command. The module of the room is imported when one of its commands is
# called, and libraries that take seconds when the work of a command needs them.
COMMANDS = {
    "init": ("split", "Write lst.toml with every setting, its default and a comment."),
    "split": ("split", "Sort the classes by frequency and divide them into phases."),
    "check": ("check", "Check annotations and images before training."),
    "hold-out": ("split", "Set aside a part of the training set for choosing settings."),
    "train-base": ("train", "Train the base phase: the most frequent classes."),
    "train-joint": ("train", "Train all classes at once: the baseline for training in phases."),
    "step": ("train", "Train the next phase: the next, rarer group of classes."),
    "adopt": ("adopt", "Make a workspace whose base phase is an existing model."),
    "extend": ("extend", "Add new classes from a few annotated images."),
    "bank": ("train", "Show the bank of cut-out objects, or make it again."),
    "eval": ("evaluate", "Compute LVIS AP of a phase's model on the validation images."),
    "score": ("evaluate", "Compute LVIS AP of any results file."),
    "predict": ("predict", "Run a trained phase's model on images."),
    "report": ("report", "Write the report: AP tables, plots, pictures, one HTML page."),
    "compare": ("compare", "Compare runs on the same images and classes."),
    "figure": ("figures", "Draw single figures for a paper."),
    "sweep": ("sweep", "Make many runs on the same data, and one table of all runs."),
    "status": ("report", "Show what is done, what is next, sizes, and AP so far."),
    "demo": ("demo", "Run the whole method on a small drawn data set, in minutes."),
}

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_MOST_FILES = 2**16

# Options that have become commands.
_MOVED = {
    ("eval", "--detections"): "score",
    ("report", "--compare"): "compare",
    ("report", "--figure"): "figure",
}


def _show_error(message: str, hint: str | None) -> None:
    if not is_first_to_fail():
        return
    try:
        from lst_cli.cli.console import show_error
    except Exception:  # where rich is missing or broken, which the message says
        click.echo(f"error: {message}" + (f"\n  try: {hint}" if hint else ""), err=True)
    else:
        show_error(message, hint)


class LstGroup(click.Group):
    """Finds commands by name, and turns known problems into `LstError`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lst_cli.cli.commands.{COMMANDS[cmd_name][0]}")
        found = (one for one in vars(module).values() if isinstance(one, click.Command))
        return next(one for one in found if one.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; suggest a close match for a typing error."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = did_you_mean(args[0], COMMANDS)
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        _refuse_moved(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; our own warnings become notes."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("default", category=LstWarning)  # each once
                warnings.showwarning = _note_ours(warnings.showwarning)
                return super().invoke(ctx)
        except BrokenPipeError:
            _drop_output()  # the reader (head, a pager) has seen enough
            ctx.exit(0)
        except Exception as error:
            known = known_problem(error)
            if known is None:
                raise
            with suppress(ImportError):  # of the library that the message is about
                from lst_cli.cli.console import complete

                known.hint = known.hint and complete(known.hint)
            if known is error:
                raise
            raise known from error


def _refuse_moved(words: Sequence[str]) -> None:
    """Refuse an option that has become a command; the hint is that command."""
    for (command, option), new in _MOVED.items():
        rest = [word for word in words[1:] if word != option]
        plain = [word.removeprefix(f"{option}=") for word in rest]
        if words[0] == command and plain != list(words[1:]):
            hint = shlex.join(["lst", new, *plain])
            raise LstError(f"lst {command} {option} is now lst {new}", hint)


def _note_ours(show: Callable[..., None]) -> Callable[..., None]:
    """Show our own warnings as notes, others as before."""

    def show_or_note(message: Warning | str, category: type[Warning], *more: Any) -> None:
        if issubclass(category, LstWarning):
            from lst_cli.cli.console import note

            note(str(message))
        else:
            show(message, category, *more)

    return show_or_note


class StoppedError(BaseException):
    """A signal ended the command. Not an `Exception`, which code may handle as a failed step."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        self.code = 128 + number
        super().__init__(self.name)


@contextmanager
def stop_by_signal() -> Iterator[None]:
    """Raise `StoppedError` where a signal would end the process at once; a second one does.

    A signal that is ignored, as with `nohup`, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != process:  # a worker, which inherits the handler
            os.kill(os.getpid(), number)
            return
        raise StoppedError(number)

    ours = [one for one in _SIGNALS if signal.getsignal(one) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@click.group(
    cls=LstGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "lst split --train train.json --val val.json --images DIR --b 270 --phases 6",
        "lst train-base",
        "lst step --all",
        "lst eval --all-phases",
        "lst report",
    ),
)
@click.version_option(__version__, prog_name="lst")
def cli() -> None:
    """Train long-tailed instance segmentation phase by phase.

    It trains on the frequent classes first, then on one rarer group after another, without
    forgetting the earlier classes. The result is one Mask R-CNN for all classes.
    """


def main() -> NoReturn:
    """Run `lst`; the entry point of the package."""
    _prepare_process()
    try:
        with stop_by_signal(), with_other_processes(sys.argv[1:]):
            _refuse_odd_bytes(sys.argv[1:])
            code = cli(prog_name="lst", standalone_mode=False)
            sys.stdout.flush()
    except StoppedError as stopped:
        _show_error(f"stopped by {stopped.name}", "run the same command again to continue")
        code = stopped.code
    except click.exceptions.Abort:
        _show_error("interrupted", "run the same command again")
        code = 130
    except LostProcessError as error:
        _show_error(error.message, error.hint)
        code = 1
    except LstError as error:
        where = "" if ranks.is_first() else f"process {ranks.rank()}: "
        _show_error(where + error.message, error.hint)
        code = 1
    except click.ClickException as error:
        code = error.exit_code
        if isinstance(error, click.UsageError) and type(error).__name__ != "NoArgsIsHelpError":
            context = error.ctx.command_path if error.ctx else "lst"
            _show_error(error.format_message(), f"{context} --help")
        else:  # `lst` alone, in click 8.2 and later
            error.show()
    except BrokenPipeError:
        _drop_output()
        code = 0
    except OSError as error:
        _show_error(f"cannot write the output: {error.strerror or error}", None)
        _drop_output()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_odd_bytes(words: Sequence[str]) -> None:
    """Refuse names in another encoding: they cannot be written to any file of ours."""
    for word in words:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise LstError(f"{word}: not UTF-8 text", "rename the file or directory")


def _drop_output() -> None:
    """Prevent Python's own error about the same output at its end."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _prepare_process() -> None:
    # Threads of the network sleep instead of spin while they wait for each other. libgomp's default
    # suits a machine without other work; otherwise a spinning thread can keep the thread it waits
    # for from running. `make bench ARGS='-k threads'` measures it.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries about each other
    logging.disable(logging.WARNING)
    raise_file_limit()


def raise_file_limit() -> None:
    """Raise the limit of open files: each tensor that a worker hands over is one for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _MOST_FILES)), hard))
