"""The page of all commands, from their help: `python -m lst_cli.cli.reference PAGE` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lst_cli.workspace.atomic import write_text

_WIDTH = 88  # the page must not depend on the terminal that `make docs` ran in
_HEAD = """\
# Every command and its options

The help of each command, as `lst COMMAND --help` prints it. `make docs` writes this page.
"""


def help_contexts(group: click.Group, name: str = "lst") -> list[click.Context]:
    """Contexts of a group and of each of its commands, whose help has the page's width."""
    top = _context(group, name, None)
    commands = {name: group.get_command(top, name) for name in group.list_commands(top)}
    return [top, *(_context(one, name, top) for name, one in commands.items() if one)]


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # With the command's own settings: click keeps the help option that it makes here.
    width = {"terminal_width": _WIDTH, "max_content_width": _WIDTH}
    settings = {**command.context_settings, **width}
    return click.Context(command, info_name=name, parent=parent, **settings)


def render_reference(group: click.Group) -> str:
    """Markdown page with the help of a group and of its commands."""
    sections = [
        f"## {one.command_path}\n\n```text\n{click.unstyle(one.get_help()).rstrip()}\n```\n"
        for one in help_contexts(group)
    ]
    return "\n".join([_HEAD, *sections])


if __name__ == "__main__":
    from lst_cli.cli.main import cli

    write_text(Path(sys.argv[1]), render_reference(cli))
