"""`lst status`."""

from __future__ import annotations

from dataclasses import asdict

from lst_cli.cli import options
from lst_cli.cli.console import complete, print_json, print_table, show_next


@options.command("status", "lst status")
@options.workspace_option
@options.json_option
def command(workspace: options.Workspace, as_json: bool) -> None:
    """Show what is done, what is next, sizes, and AP so far."""
    from lst_cli.report.status import read_status, status_table

    status = read_status(workspace)
    if not as_json:
        print_table(status_table(status))
    following = status.next_command
    if following is not None:
        workspace.settings()  # the command that is advised would refuse a wrong lst.toml
    if as_json:
        print_json({**asdict(status), "next_command": following and complete(following)})
    else:
        show_next(following)
