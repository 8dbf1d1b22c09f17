"""`lst init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lst_cli.cli.console import note
from lst_cli.cli.options import Choice, examples, set_option, with_options, words, workspace_option
from lst_cli.settings.presets import PRESETS

if TYPE_CHECKING:
    from lst_cli.workspace.store import Workspace


@click.command("init", epilog=examples("lst init --preset lite", "lst init --print | less"))
@with_options(workspace_option, set_option)
@click.option("--preset", type=Choice(list(PRESETS)), help="Preset to start from.")
@click.option("--print", "to_stdout", is_flag=True, help="Print the file instead of writing it.")
@click.option("--force", is_flag=True, help="Replace an existing lst.toml.")
def command(
    workspace: Workspace,
    overrides: tuple[str, ...],
    preset: str | None,
    to_stdout: bool,
    force: bool,
) -> None:
    """Write lst.toml with every setting, its default and a comment."""
    from lst_cli.split.init import render_settings, write_settings

    chosen = words(overrides, preset=preset)
    if to_stdout:
        click.echo(render_settings(chosen))
        return
    write_settings(workspace.layout.settings, chosen, force=force)
    note(f"wrote {workspace.layout.settings}")
