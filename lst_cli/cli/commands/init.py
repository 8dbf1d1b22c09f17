"""`lst init`."""

from __future__ import annotations

import click

from lst_cli.cli import options
from lst_cli.cli.console import note
from lst_cli.settings.presets import PRESETS


@options.command("init", "lst init --preset lite", "lst init --print | less")
@options.workspace_option
@options.set_option
@options.choice("--preset", list(PRESETS), "Preset to start from.")
@options.flag("--print", "Print the file instead of writing it.", "to_stdout")
@options.flag("--force", "Replace an existing lst.toml.")
def command(
    workspace: options.Workspace,
    overrides: tuple[str, ...],
    preset: str | None,
    to_stdout: bool,
    force: bool,
) -> None:
    """Write lst.toml with every setting, its default and a comment."""
    from lst_cli.split.init import render_settings, write_settings

    chosen = options.words(overrides, preset=preset)
    if to_stdout:
        click.echo(render_settings(chosen))
        return
    write_settings(workspace.layout.settings, chosen, force=force)
    note(f"wrote {workspace.layout.settings}")
