"""`lst status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lst_cli.cli.console import complete, print_json, print_rows, show_next
from lst_cli.cli.options import examples, json_option, with_options, workspace_option

if TYPE_CHECKING:
    from lst_cli.report.status import PhaseStatus, Status
    from lst_cli.workspace.store import Workspace


@click.command("status", epilog=examples("lst status"))
@with_options(workspace_option, json_option)
def command(workspace: Workspace, as_json: bool) -> None:
    """Show what is done, what is next, sizes, and AP so far."""
    from lst_cli.display.tables import format_seconds, format_value
    from lst_cli.report.status import read_status

    status = read_status(workspace)
    if as_json:
        _require_usable(workspace, status)
        command = status.next_command
        print_json({**status.as_dict(), "next_command": command and complete(command)})
        return
    rows = [
        [
            _name(one, status.joint),
            one.state,
            f"{one.classes:,}",
            f"{one.instances[1]:,} to {one.instances[0]:,}",
            format_value("integer", one.entries),
            _iterations(one),
            format_value("integer", one.image_passes),
            "–" if one.seconds is None else format_seconds(one.seconds),  # noqa: RUF001
            f"{one.megabytes:,.0f} MB",
            format_value("ap", one.ap),
            format_value("ap", one.ap_new),
        ]
        for one in status.phases
    ]
    print_rows(
        f"{status.workspace}: {status.classes:,} classes, {status.image_passes:,} image passes "
        "so far",
        [
            "phase",
            "state",
            "classes",
            "instances",
            "entries",
            "iterations",
            "image passes",
            "time",
            "size",
            "AP",
            "AP new",
        ],
        rows,
        text=2,
    )
    _require_usable(workspace, status)
    show_next(status.next_command)


def _require_usable(workspace: Workspace, status: Status) -> None:
    # The command that is advised would refuse a wrong lst.toml.
    if status.next_command is not None:
        workspace.settings()


def _iterations(one: PhaseStatus) -> str:
    from lst_cli.display.tables import format_value

    planned = format_value("integer", one.iterations)
    return f"{one.iterations_done:,} of {planned}" if one.state == "under way" else planned


def _name(one: PhaseStatus, joint: bool) -> str:
    if one.phase == 0:
        return "joint" if joint else "base"
    return f"{one.phase} added" if one.added else str(one.phase)
