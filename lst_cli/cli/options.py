"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lst_cli.files import refuse_address
from lst_cli.text import did_you_mean

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace as Workspace  # for the commands

WORKSPACE = "lst.workspace"  # key in the meta of click's context
Command = Callable[..., Any]
Option = Callable[[Command], Command]


class Choice(click.Choice):  # type: ignore[type-arg]
    """One of some words; the error about another word suggests a close match."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word that is meant."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            meant = did_you_mean(str(value), map(str, self.choices))
            raise click.BadParameter(error.message.rstrip(".") + meant, ctx, param) from None


class LocalPath(click.Path):
    """A path on this machine; an address is refused as one, and not as a missing file."""

    def __init__(self, **rules: bool) -> None:
        super().__init__(path_type=Path, **rules)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; an address raises `LstError`."""
        refuse_address(os.fspath(value))
        return super().convert(value, param, ctx)


def flag(name: str, help: str, *into: str) -> Option:
    """An option without a value."""
    return click.option(name, *into, is_flag=True, help=help)


def choice(name: str, words: Sequence[str], help: str, *into: str, **more: Any) -> Option:
    """An option that takes one of some words."""
    return click.option(name, *into, type=Choice(words), help=help, **more)


def file_option(name: str, help: str, *, exists: bool = False, **more: Any) -> Option:
    """An option that takes a file, which need not exist unless `exists`."""
    kind = LocalPath(exists=exists, dir_okay=not exists)
    return click.option(name, metavar="FILE", type=kind, help=help, **more)


def directory_option(*names: str, help: str, **more: Any) -> Option:
    """An option that takes a directory, which need not exist."""
    return click.option(*names, metavar="DIR", type=LocalPath(file_okay=False), help=help, **more)


def output_option(default: str) -> Option:
    """`-o`; the default is said in words."""
    return directory_option("-o", "--output", help=f"Directory to write to.  [default: {default}]")


def number_option(name: str, kind: click.ParamType[Any], default: float, help: str) -> Option:
    """An option that takes a number; its default is in the help."""
    more: dict[str, Any] = {"default": default, "show_default": True}
    return click.option(name, metavar="NUMBER", type=kind, help=help, **more)


def phase_option(use: str) -> Option:
    """`--phase`, to do something with it; without it the newest finished phase."""
    return click.option(
        "--phase", type=int, help=f"Phase to {use}.  [default: the newest finished phase]"
    )


def bins_option(default: str = "") -> Option:
    """`--bins`; the default is said in words."""
    help = "Bins of training instances, such as '=1,<10,10-99,>=100'."
    default = default and f"  [default: {default}]"
    return click.option("--bins", metavar="BINS", help=help + default)


def _open_workspace(ctx: click.Context, param: click.Parameter, value: str | None) -> Workspace:
    del param
    from lst_cli.workspace.store import find_workspace

    refuse_address(value or "")
    return in_use(ctx, find_workspace(value))


def in_use(ctx: click.Context, root: Path) -> Workspace:
    """Open a workspace; the commands that are printed will name it if they have to."""
    from lst_cli.workspace.store import Workspace

    ctx.meta[WORKSPACE] = root
    return Workspace(root)


workspace_option = click.option(
    "-w",
    "--workspace",
    metavar="DIR",
    envvar="LST_WORKSPACE",
    show_envvar=True,
    callback=_open_workspace,
    help="Workspace directory.  [default: the current directory if it is a workspace, else "
    "./lst-workspace]",
)

set_option = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a setting, for instance --set base.lr=0.02; may be repeated. "
    "`lst init --print` shows all keys.",
)

device_option = choice("--device", ["auto", "cpu", "cuda"], "Device to run the network on.")

json_option = flag("--json", "Print JSON for scripts.", "as_json")

weights_option = click.option(
    "--weights",
    metavar="FILE|URL|DIR",
    help="Initial weights: a COCO-trained Mask R-CNN of detectron2's model zoo, a workspace, whose "
    "last phase is taken, or a network of timm. Class-specific layers are loaded only from a "
    "workspace with the same training file, classes and network.",
)

train_option = file_option(
    "--train", "Training annotations in LVIS v0.5, LVIS v1 or COCO format.", required=True
)

image_dirs_option = click.option(
    "--images",
    "image_dirs",
    metavar="DIR",
    multiple=True,
    type=LocalPath(exists=True, file_okay=False),
    help="Directory with the images, in any layout; may be repeated.",
)

skip_unusable_option = flag(
    "--skip-unusable",
    "Leave out annotations without a usable box or mask instead of refusing the file; prints how "
    "many of each kind.",
)


def command(name: str, *examples_of_it: str) -> Callable[[Command], click.Command]:
    """A command of a name, with examples in its help."""
    return click.command(name, epilog=examples(*examples_of_it))


def examples(*lines: str) -> str:
    """Commands to paste, shown below the options in a command's help."""
    # click joins and wraps lines, except in a paragraph that begins with this character.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def with_options(*options: Option) -> Option:
    """Compose options into one decorator, the first at the top of the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


closer_look_options = with_options(
    flag(
        "--fixed-ap",
        "AP_fixed: use the best 10,000 detections of each class over all images, instead of a "
        "maximum for each image.",
    ),
    flag(
        "--errors",
        "Show which kinds of error lower AP, by bin: wrong class, wrong place, duplicates, "
        "background, missed objects.",
    ),
    flag(
        "--reference", "Also run lvis-api, which takes minutes, and print the largest difference."
    ),
)


def settings_options(command: Command) -> Command:
    """`--device` and `--set`: the command gets both as the words `overrides`."""

    @wraps(command)
    def call(*, device: str | None, overrides: tuple[str, ...], **others: Any) -> None:
        command(overrides=words(overrides, device=device), **others)

    return with_options(device_option, set_option)(call)


def gpus_option(command: Command) -> Command:
    """`--gpus`: the command runs as so many processes."""

    @wraps(command)
    def call(*, gpus: int | None, **others: Any) -> None:
        if gpus is None:
            command(**others)
            return
        from lst_cli.cli.processes import run_on_gpus

        click.get_current_context().exit(run_on_gpus(gpus, _without("--gpus", sys.argv[1:])))

    option = click.option(
        "--gpus",
        metavar="N",
        type=click.IntRange(min=1),
        help="Use N GPUs of this machine, each by a process of its own; see also torchrun.",
    )
    return option(call)


def _without(option: str, words: Sequence[str]) -> list[str]:
    """Words of a command line without an option and its value."""
    kept = [word for word in words if not word.startswith(f"{option}=")]
    if option in kept:
        at = kept.index(option)
        del kept[at : at + 2]
    return kept


training_options = with_options(
    settings_options,
    gpus_option,
    flag("--restart", "Discard an unfinished phase and start it again."),
    flag("--dry-run", "Print classes, samples, iterations and estimated time; train nothing."),
    json_option,
)
"""The options of each training command; see `run_training`."""


def words(overrides: tuple[str, ...], **chosen: object) -> tuple[str, ...]:
    """`key=value` words of `--set`, and of options that stand for one setting each.

    `chosen` has their values by setting, `__` for a dot; None is left out.
    """
    named = tuple(
        f"{key.replace('__', '.')}={value}" for key, value in chosen.items() if value is not None
    )
    return (*overrides, *named)
