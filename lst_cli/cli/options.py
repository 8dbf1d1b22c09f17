"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lst_cli.files import refuse_address
from lst_cli.text import did_you_mean

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace

WORKSPACE = "lst.workspace"  # key in the meta of click's context
Function = TypeVar("Function", bound=Callable[..., Any])


class Choice(click.Choice):  # type: ignore[type-arg]
    """One of some words; an error says which was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word that is meant."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            meant = did_you_mean(str(value), map(str, self.choices))
            raise click.BadParameter(error.message.rstrip(".") + meant, ctx, param) from None


class LocalPath(click.Path):
    """A path on this machine; an address is refused in words, not looked for as a file."""

    def __init__(
        self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True
    ) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            LstError: If it is an address.
        """
        refuse_address(os.fspath(value))
        return super().convert(value, param, ctx)


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
    help="Workspace directory.  [default: the current one if it is a workspace, else "
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

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")

device_option = click.option(
    "--device", type=Choice(["auto", "cpu", "cuda"]), help="Where the network runs."
)

weights_option = click.option(
    "--weights",
    metavar="FILE|URL",
    help="Initial weights, as a rule a COCO-trained Mask R-CNN of detectron2's model zoo; "
    "class-specific predictors are dropped.",
)

dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Print classes, entries, replay, iterations and an estimate of time; train nothing.",
)

restart_option = click.option(
    "--restart", is_flag=True, help="Throw away a phase that is under way and start it again."
)

train_option = click.option(
    "--train",
    required=True,
    metavar="FILE",
    type=LocalPath(),
    help="Training annotations: LVIS v0.5, LVIS v1 or COCO format.",
)

image_dirs_option = click.option(
    "--images",
    "image_dirs",
    metavar="DIR",
    multiple=True,
    type=LocalPath(exists=True, file_okay=False),
    help="Directory of the images, in whichever layout; may be repeated.",
)

skip_unusable_option = click.option(
    "--skip-unusable",
    is_flag=True,
    help="Leave out annotations without a usable box or mask, instead of refusing the file; "
    "says how many of each kind.",
)

output_option = click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=LocalPath(file_okay=False),
    help="Where to write.  [default: report/ in the workspace]",
)

train_counts_option = click.option(
    "--train-counts",
    metavar="FILE",
    type=LocalPath(exists=True, dir_okay=False),
    help="The training annotations, or a CSV with category_id and train_instance_count, for AP by "
    "bin.",
)

fixed_ap_option = click.option(
    "--fixed-ap",
    is_flag=True,
    help="AP_fixed: the best 10,000 detections of a class over all images, instead of so many "
    "an image.",
)

errors_option = click.option(
    "--errors",
    is_flag=True,
    help="Where AP is lost: wrong class, place, duplicates, background, missed objects; by bin.",
)

reference_option = click.option(
    "--reference",
    is_flag=True,
    help="Run lvis-api too, which takes minutes, and print the largest difference.",
)


def examples(*lines: str) -> str:
    """Commands to paste, shown below the options in a command's help."""
    # click joins and wraps lines, except in a paragraph that begins with this character.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def with_options(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Compose options into one decorator, the first on top of the help."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def words(overrides: tuple[str, ...], **chosen: object) -> tuple[str, ...]:
    """`key=value` words of `--set` and of the options that stand for one setting.

    Args:
        overrides: From `--set`.
        chosen: Setting to value, `__` for a dot; None is left out.
    """
    named = tuple(
        f"{key.replace('__', '.')}={value}" for key, value in chosen.items() if value is not None
    )
    return (*overrides, *named)
