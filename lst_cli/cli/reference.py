"""The page of all commands, from their help: `python -m lst_cli.cli.reference PAGE` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lst_cli.workspace.atomic import write_text

_WIDTH = 88  # the page must not depend on the terminal that `make docs` ran in
_HEAD = """\
# Every command and its options

The help of each command, as `lst COMMAND --help` prints it. `make docs` writes this page.
"""


def walk_commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Visit a command and all below it but hidden ones: its words, it, and its help's context."""
    width = {"terminal_width": _WIDTH, "max_content_width": _WIDTH}
    # With the command's own settings: click keeps the help option that it makes here.
    settings = {**command.context_settings, **width}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None and not child.hidden:
                yield from walk_commands(child, child_name, context)


def render_reference(command: click.Command, name: str = "lst") -> str:
    """Markdown page with the help of a command and of all below it."""
    sections = [
        f"## {path}\n\n```text\n{click.unstyle(context.get_help()).rstrip()}\n```\n"
        for path, _, context in walk_commands(command, name)
    ]
    return "\n".join([_HEAD, *sections])


if __name__ == "__main__":
    from lst_cli.cli.main import cli

    write_text(Path(sys.argv[1]), render_reference(cli))
